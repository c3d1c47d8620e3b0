"""A connection to PostgreSQL that is cut anywhere, or falls silent, loses and doubles nothing.

Each call is made once over a proxy, which notes the messages of both directions. Then it is made
again and again, with the connection cut within or after one of them. It must answer and leave
behind what it does without a cut.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from calls import claim, new, put
from interleaved_calls import (
    OPERATIONS,
    Operation,
    finish_all,
    outcome,
    prepare,
    serial_outcomes,
    sided,
)

from conveyor.core.pending import Pending
from conveyor.errors import UnavailableError
from conveyor.store.messages import Accepted, Offered
from conveyor.store.postgres.address import Address, parse_address
from conveyor.store.postgres.connection import Connection
from conveyor.store.postgres.migrate import Migration
from conveyor.store.postgres.store import PostgresStore
from conveyor.testing import FakeClock
from interleaving import answer_of
from postgres_proxy import Cut, Direction, Proxy, Traffic
from postgres_schema import Schemas

HOT = (
    *("insert", "insert many", "insert with a key", "bounded insert", "claim", "exchange"),
    *("settle", "fail", "extend", "cancel a running one", "rescue", "write output"),
)
DIRECTIONS: tuple[Direction, ...] = ("request", "answer")
IDLE = Operation(lambda store, side: None)
NOTHING = ("answer", None)
Place = tuple[Direction, int]


class Cutter:
    """A store over a proxy, and one beside it that prepares and looks."""

    def __init__(self, url: str, proxy: Proxy) -> None:
        self.clock = FakeClock()
        self.proxy = proxy
        schema = parse_address(url).schema
        self.url = f"{proxy.url}&schema={schema}"
        self.store = self._open(self.url)
        self.third = self._open(url)

    def close(self) -> None:
        self.proxy.cut = None
        self.store.close()
        self.third.close()

    def places(self, name: str, *, connects: bool) -> list[Place]:
        """Return where the traffic of a call can be cut."""
        traffic = Traffic()
        # The first one learns of lanes.
        self.run(name, connects=connects)
        self.run(name, traffic=traffic, connects=connects)
        return [(each, after) for each in DIRECTIONS for after in traffic.cuts(each)]

    def run(
        self,
        name: str,
        *,
        connects: bool,
        cut: Cut | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        """Make a call whose connection is cut; fail unless the outcome is that without a cut."""
        before = prepare(self.third, self.clock)
        # So each call finds the same: a new connection, or one that was closed.
        self.proxy.end_sessions()
        self.store.queue_info("q").result()
        if connects:
            self.proxy.end_sessions()
        self.proxy.cut, self.proxy.traffic = cut, traffic
        answer = answer_of(sided(OPERATIONS[name].make, self.store, "a"))
        self.proxy.cut = self.proxy.traffic = None
        seen = outcome([answer, NOTHING], self.third, before)
        assert seen in serial_outcomes(OPERATIONS[name], IDLE), seen
        finish_all(self.third, self.clock)

    def _open(self, url: str) -> PostgresStore:
        store = PostgresStore(url, clock=self.clock, draw=lambda: 0.5)
        store.listen(["access"], lambda _: None)
        return store


@pytest.fixture
def proxy(schemas: Schemas, tmp_path: Path) -> Iterator[Proxy]:
    server = psycopg.conninfo.conninfo_to_dict(schemas.server)["host"]
    with Proxy(tmp_path, Path(str(server))) as opened:
        yield opened


@pytest.fixture
def url(schemas: Schemas) -> Iterator[str]:
    with Schemas(schemas.server).one() as url:
        yield url


@pytest.fixture
def cutter(url: str, proxy: Proxy) -> Iterator[Cutter]:
    opened = Cutter(url, proxy)
    yield opened
    opened.close()


def cut_somewhere(cutter: Cutter, name: str, *, connects: bool, most: int) -> int:
    """Make a call with a cut at so many places; return how many cuts there were."""
    places = cutter.places(name, connects=connects)
    cuts = 0
    for direction, after in random.Random(name).sample(places, min(most, len(places))):
        cut = Cut(direction, after)
        cutter.run(name, connects=connects, cut=cut)
        cuts += cut.is_done
    return cuts


def test_a_call_whose_connection_is_cut_does_what_it_does_without(cutter: Cutter) -> None:
    for number, name in enumerate(HOT):
        assert cut_somewhere(cutter, name, connects=number % 3 == 0, most=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_call_whose_connection_is_cut_anywhere_does_what_it_does_without(
    cutter: Cutter, name: str
) -> None:
    cuts = [cut_somewhere(cutter, name, connects=each, most=1000) for each in (False, True)]
    assert all(cuts)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_coroutines_whose_shared_connection_is_cut_each_get_their_answer(
    cutter: Cutter, direction: Direction
) -> None:
    async def insert_all(number: int) -> list[Accepted | Offered]:
        jobs = [[new(id=f"{number}-{each}-{half}") for half in "ab"] for each in range(8)]
        return list(await asyncio.gather(*(waited(cutter.store.insert(each)) for each in jobs)))

    put(cutter.store, new(id="first"))
    cutter.clock.advance(1)
    expected = {"first"}
    for number, after in enumerate((1, 40, 700, 2500)):
        cutter.proxy.cut = Cut(direction, after)
        ids = {f"{number}-{each}-{half}" for each in range(8) for half in "ab"}
        answers = asyncio.run(insert_all(number))
        assert {job for each in answers if isinstance(each, Accepted) for job in each.ids} == ids
        expected |= ids
    assert sorted(job.id for job in claim(cutter.store, 999)) == sorted(expected)


async def waited(pending: Pending[Accepted | Offered]) -> Accepted | Offered:
    return await pending


def test_a_store_that_leaves_no_marks_is_found_out(cutter: Cutter) -> None:
    address = parse_address(cutter.url)
    with psycopg.connect(address.server, autocommit=True) as session:
        session.execute(f"SET search_path = {address.schema}".encode())
        session.execute(
            b"CREATE FUNCTION leave_none() RETURNS TRIGGER LANGUAGE plpgsql AS "
            b"'BEGIN IF NEW.is_committed THEN RETURN NULL; END IF; RETURN NEW; END'"
        )
        session.execute(
            b"CREATE TRIGGER no_mark BEFORE INSERT ON commit_mark "
            b"FOR EACH ROW EXECUTE FUNCTION leave_none()"
        )
    *_, (direction, last) = cutter.places("claim", connects=False)
    with pytest.raises(AssertionError, match="Outcome"):
        cutter.run("claim", connects=False, cut=Cut(direction, last - 1))


def test_a_migration_whose_connection_is_cut_is_whole_or_not_there(
    schemas: Schemas, proxy: Proxy
) -> None:
    def address(number: int) -> Address:
        return parse_address(f"{proxy.url}&schema=cut_{os.getpid()}_{number}")

    traffic = proxy.traffic = Traffic()
    Migration(address(0)).run()
    proxy.traffic = None
    places = [(each, after) for each in DIRECTIONS for after in traffic.cuts(each)]
    newest = Migration(address(0)).versions()[1]
    for number, place in enumerate(random.Random(1).sample(places, 4), start=1):
        proxy.cut = cut = Cut(*place)
        try:
            Migration(address(number)).run()
        except UnavailableError:
            assert cut.is_done
        proxy.cut = None
        assert Migration(address(number)).run()[1] == newest
        store = PostgresStore(f"{proxy.url}&schema={address(number).schema}")
        assert put(store, new(id="a")) == [job.id for job in claim(store)] == ["a"]
        store.close()


# -- silence ---------------------------------------------------------------------------------------


def limited(store: PostgresStore) -> None:
    """Have the store's next sessions wait a second for an answer, where they wait for a minute."""
    pool = store._driver._opened.transactions._pool  # type: ignore[attr-defined]
    connect = pool._connect

    def connect_limited() -> Connection:
        connection: Connection = connect()
        connection.session.limit = 1.0
        return connection

    pool.discard()
    pool._connect = connect_limited


def test_calls_over_connections_that_fell_silent_end_and_are_made_once(cutter: Cutter) -> None:
    limited(cutter.store)
    ids = put(cutter.store, new())
    cutter.proxy.silence(hints=False)
    ids += put(cutter.store, new())
    cutter.proxy.silence(hints=False)
    assert [job.id for job in claim(cutter.store, 9)] == ids
