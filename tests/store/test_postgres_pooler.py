"""PostgreSQL behind a pooler that gives each transaction another session of the server."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from calls import claim, counted, new, offer, put, settle

from conveyor.core.job import State
from conveyor.core.lifecycle import Succeeded
from conveyor.errors import UsageError
from conveyor.store.messages import Accepted, Hint
from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.migrate import Migration
from conveyor.store.postgres.server_checks import Limits, examine
from conveyor.store.postgres.session import PoolerError
from conveyor.store.postgres.store import PostgresStore
from postgres_pooler import Options, Pooler
from postgres_schema import Schemas

Open = Callable[..., PostgresStore]


@pytest.fixture
def behind(url: str, schemas: Schemas) -> Iterator[Callable[[Options], str]]:
    """Return a function that starts a pooler and returns the URL of the schema behind it."""
    with ExitStack() as stack:

        def start(options: Options) -> str:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="conveyor-pooler-"))
            pooler = Pooler(Path(folder), Path(schemas.folder), options)
            pooler.start()
            stack.callback(pooler.stop)
            return f"{pooler.url}&schema={parse_address(url).schema}"

        yield start


@pytest.fixture
def pooled(behind: Callable[[Options], str]) -> str:
    return behind("refused") + "&pool=transaction"


@pytest.fixture
def store(pooled: str) -> Iterator[PostgresStore]:
    opened = PostgresStore(pooled)
    yield opened
    opened.close()


def test_every_kind_of_call_works_often_enough_for_statements_to_be_prepared(
    store: PostgresStore,
) -> None:
    for number in range(10):
        ids = put(store, new(key=f"k{number}"), new(), capacity=9)
        assert put(store, new(id=f"plain-{number}", queue="plain"))
        assert [job.id for job in claim(store, 9)] == ids
        jobs = claim(store, queue="plain")
        assert settle(store, jobs[0], Succeeded(b"1"))
        assert store.cancel(ids[0], reason="r").result()
    assert counted(store)["plain"][State.COMPLETED] == 10
    assert counted(store)["q"][State.RUNNING] == 20
    assert store.check().result() == []


def test_threads_share_a_bound_and_claims_that_are_each_in_other_sessions(
    store: PostgresStore,
) -> None:
    accepted: list[str] = []
    claimed: list[str] = []

    def work(number: int) -> None:
        for step in range(10):
            answer = offer(store, new(id=f"{number}-{step}"), capacity=20, when_full="fail")
            accepted.extend(answer.ids if isinstance(answer, Accepted) else ())
            claimed.extend(job.id for job in claim(store, 1))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    claimed.extend(job.id for job in claim(store, 99))
    assert len(accepted) == 40
    assert sorted(claimed) == sorted(accepted)


@pytest.mark.parametrize("more", ["", "&pool=session"])
@pytest.mark.parametrize("options", ["refused", "dropped"])
def test_a_pooler_that_is_not_named_is_recognised(
    behind: Callable[[Options], str], options: Options, more: str
) -> None:
    with pytest.raises(PoolerError, match="add pool=transaction to its URL"):
        PostgresStore(behind(options) + more)


def test_a_pooler_that_keeps_settings_is_recognised_by_the_number_of_the_session(
    behind: Callable[[Options], str],
) -> None:
    with pytest.raises(PoolerError, match="pool=session if it gives"):
        PostgresStore(behind("kept"))


def test_a_session_that_is_another_one_says_so(behind: Callable[[Options], str]) -> None:
    # The known-bad control: this address says that sessions are kept, and they are not.
    store = PostgresStore(behind("kept") + "&pool=session")

    def put_often() -> None:
        for _ in range(20):
            put(store, new(key="k"))

    with pytest.raises(PoolerError, match=r"prepared.*add pool=transaction"):
        put_often()
    store.close()


def test_a_pooler_that_has_forgotten_the_prepared_statements_is_asked_again(
    store: PostgresStore,
) -> None:
    [connection] = store._driver._opened.transactions._pool._free  # type: ignore[attr-defined]
    # As for a pooler that brought them along until it was restarted.
    connection.session.prepare_threshold = 0
    for number in range(5):
        put(store, new(id=f"{number}", key=f"k{number}"))
    assert [job.id for job in claim(store, 9)] == ["0", "1", "2", "3", "4"]
    assert connection.is_lost


def test_sessions_that_end_behind_a_pooler_are_replaced(
    store: PostgresStore, schemas: Schemas
) -> None:
    [connection] = store._driver._opened.transactions._pool._free  # type: ignore[attr-defined]
    name = connection.session.info.parameter_status("application_name")
    assert name
    with psycopg.connect(schemas.server, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE application_name = %s",
            (name,),
        )
    ids = [each for _ in range(9) for each in put(store, new())]
    assert [job.id for job in claim(store, 9)] == ids


def test_what_others_do_is_noticed_without_notifications(store: PostgresStore, url: str) -> None:
    came = threading.Event()
    heard: list[Hint] = []

    def hear(hint: Hint) -> None:
        heard.append(hint)
        came.set()

    store.listen(["work"], hear)
    other = PostgresStore(url)
    put(other, new())
    assert came.wait(30)
    assert heard[0] == Hint("work")
    other.close()


def test_hints_come_from_the_server_itself_if_the_address_names_it(
    pooled: str, url: str, schemas: Schemas
) -> None:
    store = PostgresStore(f"{pooled}&direct={schemas.folder}:5432")
    other = PostgresStore(url)
    came = threading.Event()
    heard: list[Hint] = []

    def hear(hint: Hint) -> None:
        heard.append(hint)
        came.set()

    store.listen(["work"], hear)
    put(other, new())
    assert came.wait(30)
    assert heard[0] == Hint("work", ("q",))
    other.close()
    store.close()


def test_doctor_says_that_notifications_do_not_arrive(behind: Callable[[Options], str]) -> None:
    address = parse_address(behind("kept") + "&pool=session")
    *_, (name, is_well, text) = examine(address, limits=Limits(heard=0.5))
    assert (name, is_well) == ("hints", False)
    assert "name a pooler with pool=transaction" in text


def test_doctor_examines_a_server_behind_a_pooler(pooled: str) -> None:
    examined = {name: (well, text) for name, well, text in examine(parse_address(pooled))}
    assert examined["hints"][0]
    assert "direct=HOST:PORT" in examined["hints"][1]
    assert examined["rights"] == (True, "this user has the rights of a worker")
    assert "schema" not in examined


def test_a_schema_is_migrated_through_a_pooler(
    behind: Callable[[Options], str], schemas: Schemas
) -> None:
    url = behind("refused").partition("&schema=")[0] + "&schema=pooled&pool=transaction"
    migration = Migration(parse_address(url))
    before, newest = migration.run()
    assert (before, migration.versions()) == (0, (newest, newest))
    with psycopg.connect(schemas.server, autocommit=True) as session:
        session.execute("DROP SCHEMA pooled CASCADE")


@pytest.mark.parametrize(
    "wrong",
    [
        "pool=",
        "pool=statement",
        "direct=h:1",
        "pool=transaction&direct=h",
        "pool=session&direct=h:1",
    ],
)
def test_an_option_about_poolers_that_cannot_be_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong.partition("=")[0]):
        parse_address(f"postgresql://me@127.0.0.1:1/db?{wrong}")


def test_the_server_for_hints_has_the_same_user_and_options() -> None:
    address = parse_address(
        "postgresql://me@pool:6432/db?sslmode=require&pool=transaction&direct=[::1]:5432"
    )
    assert address.for_hints.server == "postgresql://me@/db?sslmode=require&host=%3A%3A1&port=5432"
    assert address.for_hints.pool == ""
