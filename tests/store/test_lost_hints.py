"""Hints of PostgreSQL that are lost: jobs still start, and later hints are heard again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from calls import claim, new, put

from conveyor import Conveyor
from conveyor.core.job import State
from conveyor.store.messages import Hint
from conveyor.store.postgres.address import Address, parse_address
from conveyor.store.postgres.connection import Connection
from conveyor.store.postgres.migrate import Migration
from conveyor.store.postgres.notifier import MOST_SUBJECTS, PostgresNotifier
from conveyor.store.postgres.store import PostgresStore
from postgres_proxy import Proxy
from postgres_schema import Schemas
from postgres_server import PostgresServer

Until = Callable[[Callable[[], object]], None]


@pytest.fixture
def proxy(schemas: Schemas, tmp_path: Path) -> Iterator[Proxy]:
    server = psycopg.conninfo.conninfo_to_dict(schemas.server)["host"]
    with Proxy(tmp_path, Path(str(server))) as opened:
        yield opened


def over(proxy: Proxy, url: str) -> str:
    return f"{proxy.url}&schema={parse_address(url).schema}"


def test_a_listener_whose_session_fell_silent_listens_again(
    url: str, proxy: Proxy, until: Until
) -> None:
    address = parse_address(over(proxy, url))
    listening = PostgresNotifier(address, patience=0.5)
    heard: list[Hint] = []
    listening.listen(["final"], heard.append)
    proxy.silence(hints=True)
    # It may have missed something.
    until(lambda: heard)
    known = len(heard)
    ringing = PostgresNotifier(address)
    ringing.notify(Hint("final", ("j",)))
    until(lambda: len(heard) > known)
    ringing.close()
    listening.close()


def test_a_worker_that_hears_no_hints_starts_jobs_when_it_looks_by_itself(
    url: str, proxy: Proxy
) -> None:
    belt = Conveyor(store=PostgresStore(over(proxy, url)))
    producer = Conveyor(store=PostgresStore(url))

    def double(number: int) -> int:
        return 2 * number

    belt.task(double)
    sent = producer.task(double)

    async def main() -> list[int]:
        async with belt.worker(poll=0.2), asyncio.timeout(60):
            first = await sent.aenqueue(1)
            answers = [await first]
            proxy.silence(hints=True)
            for number in (2, 3):
                job = await sent.aenqueue(number)
                answers.append(await job)
            proxy.end_sessions(hints=True)
        return answers

    assert asyncio.run(main()) == [2, 4, 6]
    producer.close()
    belt.close()


def test_the_hints_that_wait_for_a_connection_are_bounded() -> None:
    notifier = PostgresNotifier(parse_address("postgresql://me@127.0.0.1:1/db"))
    for number in range(10):
        notifier.notify(Hint("final", tuple(f"{number}-{each}" for each in range(1000))))
    assert sum(len(each or ()) for each in notifier._ringing.values()) <= MOST_SUBJECTS
    notifier.close()


# -- a full queue of notifications -----------------------------------------------------------------


@pytest.fixture
def small(server: PostgresServer) -> PostgresServer:
    """Return a server with room for few notifications."""
    with (server.folder / "data/postgresql.conf").open("a") as settings:
        settings.write("max_notify_queue_pages = 64\n")
    server.start()
    return server


def fill_queue(session: psycopg.Connection[object]) -> None:
    while True:
        session.execute("SELECT pg_notify('filler', repeat('x', 7900)) FROM generate_series(1, 20)")


def is_added_up(address: Address) -> bool:
    connection = Connection(address)
    try:
        return not connection.query("tallied_queues")
    finally:
        connection.close()


def test_a_full_queue_of_notifications_stops_nothing_but_hints(
    small: PostgresServer, until: Until
) -> None:
    url = f"{small.url}&schema=hints"
    address = parse_address(url)
    Migration(address).run()
    store, other = PostgresStore(url), PostgresStore(url)
    heard: list[Hint] = []
    other.listen(["work"], heard.append)
    with psycopg.connect(small.url, autocommit=True) as idle:
        idle.execute("LISTEN filler")
        idle.execute("BEGIN")
        with (
            suppress(psycopg.errors.ProgramLimitExceeded),
            psycopg.connect(small.url, autocommit=True) as filling,
        ):
            fill_queue(filling)
        ids = put(store, new())
        assert [job.id for job in claim(other)] == ids
        # The thread that sends hints goes on with what else it does.
        until(lambda: is_added_up(address))
        assert other.get(ids[0]).result().state is State.RUNNING
        heard.clear()
    # Nobody listens in a transaction any more.
    put(store, new())
    until(lambda: heard)
    store.close()
    other.close()
