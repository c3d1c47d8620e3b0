"""Enqueueing in the application's own transaction, on each kind of connection."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
from callers import KINDS, Caller, opened

from conveyor import Conveyor, Job, QueueFullError, UsageError
from conveyor.core.job import State
from conveyor.errors import NotFoundError, UnavailableError
from conveyor.store.messages import Hint
from conveyor.store.postgres.address import parse_address
from postgres_schema import Schemas


class Shop:
    """An application with a table of its own and a queue, and one connection to its database."""

    def __init__(self, url: str, caller: Caller) -> None:
        self.url = url
        self.schema = parse_address(url).schema
        self.caller = caller
        self.belt = Conveyor(url)
        self.places = self.belt.queue("places", capacity=2)
        self.send = self.belt.task(send)
        self.send_few = self.places.task(send, name="few")

    def enqueue(self, task: Any = None, /, *args: Any, **options: Any) -> Job[Any]:
        """Enqueue one job in the transaction of the connection."""
        caller = self.caller
        joined = (task or self.send).using(connection=caller.connection, **options)
        if not caller.in_coroutine:
            return joined.enqueue(*args or ("ann",))
        return caller.call(joined.aenqueue(*args or ("ann",)))

    def enqueue_many(self, *calls: tuple[str]) -> list[Job[Any]]:
        joined = self.send.using(connection=self.caller.connection)
        if not self.caller.in_coroutine:
            return joined.enqueue_many(calls)
        return self.caller.call(joined.aenqueue_many(calls))

    @property
    def jobs(self) -> list[str]:
        return [each.id for each in self.belt.jobs()]


def send(to: str) -> None: ...


@pytest.fixture(scope="module", params=KINDS)
def caller(request: pytest.FixtureRequest, schemas: Schemas) -> Iterator[Caller]:
    with opened(request.param, schemas.server) as caller:
        yield caller


@pytest.fixture
def shop(url: str, caller: Caller) -> Iterator[Shop]:
    shop = Shop(url, caller)
    yield shop
    shop.belt.close()


@pytest.fixture
def plain(url: str) -> Iterator[Shop]:
    """Return an application with a connection of psycopg."""
    with opened("psycopg", url) as caller:
        shop = Shop(url, caller)
        yield shop
        shop.belt.close()


def test_a_job_exists_if_and_only_if_the_transaction_commits(shop: Shop) -> None:
    shop.caller.begin()
    gone = shop.enqueue(key="ann")
    shop.caller.roll_back()
    with shop.caller.transaction():
        kept = shop.enqueue(key="ann")
        assert shop.jobs == []
        assert not kept.existing
        several = shop.enqueue_many(("ben",), ("cid",))
    assert shop.jobs == [several[1].id, several[0].id, kept.id]
    assert kept.state is State.AVAILABLE
    assert shop.belt.store.queue_info("default").result().depth == 3
    with pytest.raises(NotFoundError):
        gone.refresh()


def test_a_savepoint_that_is_rolled_back_takes_its_jobs_with_it(shop: Shop) -> None:
    with shop.caller.transaction():
        first = shop.enqueue(shop.send_few)
        shop.caller.execute("SAVEPOINT mine")
        shop.enqueue(shop.send_few, key="ann")
        shop.caller.execute("ROLLBACK TO SAVEPOINT mine")
        last = shop.enqueue(shop.send_few, key="ann")
        assert not last.existing
    assert shop.jobs == [last.id, first.id]


def test_a_full_queue_refuses_and_the_transaction_goes_on(shop: Shop) -> None:
    with shop.caller.transaction():
        shop.enqueue(shop.send_few)
        shop.enqueue(shop.send_few)
        with pytest.raises(QueueFullError, match=r"'places' is full \(2/2\)"):
            shop.enqueue(shop.send_few)
        other = shop.enqueue()
    assert shop.places.depth == 2
    assert other.id in shop.jobs


def test_a_taken_key_answers_with_its_holder(shop: Shop) -> None:
    holder = shop.send.using(key="ann").enqueue("ann")
    with shop.caller.transaction():
        again = shop.enqueue(key="ann")
    assert (again.id, again.existing) == (holder.id, True)


def test_waiting_workers_are_told_at_the_commit(
    shop: Shop, until: Callable[[Callable[[], object]], None]
) -> None:
    heard: list[Hint] = []
    stop = shop.belt.store.listen(["work"], heard.append)
    with shop.caller.transaction():
        shop.enqueue()
        shop.belt.store.queue_info("default")
        assert heard == []
    until(lambda: Hint("work", ("default",)) in heard)
    stop()


def test_the_settings_of_the_connection_are_left_as_they_were(shop: Shop) -> None:
    with shop.caller.transaction():
        before = shop.caller.execute("SHOW search_path")
        shop.enqueue()
        assert shop.caller.execute("SHOW search_path") == before
    assert shop.caller.execute("SHOW search_path") == before
    if not shop.caller.autocommits:
        shop.caller.roll_back()


# -- what the queue decides --------------------------------------------------------------------


def test_whoever_wants_to_wait_for_room_is_told_why_that_is_not_possible(plain: Shop) -> None:
    for option in ({"wait": 1}, {"when_full": "wait"}):
        with pytest.raises(UsageError, match="cannot wait for room within a transaction"):
            plain.enqueue(plain.send_few, **option)


def test_a_rendezvous_is_refused(plain: Shop) -> None:
    task = plain.belt.queue("hand over", capacity=0).task(send, name="hand over")
    with pytest.raises(UsageError, match="has capacity 0, so a worker takes each job"):
        plain.enqueue(task)


def test_the_oldest_job_is_dropped_at_the_commit(plain: Shop) -> None:
    task = plain.belt.queue("news", capacity=1, when_full="drop_oldest").task(send, name="news")
    oldest = task.enqueue("ann")
    plain.enqueue(task)
    plain.caller.roll_back()
    assert oldest.refresh().state is State.AVAILABLE
    with plain.caller.transaction():
        kept = plain.enqueue(task)
    assert oldest.refresh().state is State.DISCARDED
    assert kept.state is State.AVAILABLE


def test_the_bound_is_exact_while_many_transactions_are_open(plain: Shop, url: str) -> None:
    refused: list[str] = []

    def produce() -> None:
        with opened("psycopg", url) as caller:
            for _ in range(3):
                try:
                    with caller.transaction():
                        plain.send_few.using(connection=caller.connection).enqueue("ann")
                        caller.execute("SELECT pg_sleep(0.001)")
                except QueueFullError as error:
                    refused.append(str(error))

    threads = [threading.Thread(target=produce) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert plain.places.depth == 2
    assert len(refused) == 16


def test_a_key_that_another_transaction_has_taken_is_waited_for(plain: Shop, url: str) -> None:
    answers: list[Job[Any]] = []

    def enqueue_too() -> None:
        with opened("psycopg", url) as caller, caller.transaction():
            joined = plain.send.using(connection=caller.connection, key="ann")
            answers.append(joined.enqueue("ann"))

    for is_committed in (False, True):
        plain.caller.begin()
        holder = plain.enqueue(key="ann")
        thread = threading.Thread(target=enqueue_too)
        thread.start()
        if is_committed:
            plain.caller.commit()
            thread.join()
            assert [each.id for each in answers] == [holder.id]
        else:
            plain.caller.roll_back()
            thread.join()
            assert not answers.pop().existing
            plain.belt.job(plain.jobs[0]).cancel()


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_bounded_queue_needs_read_committed(plain: Shop, isolation: str) -> None:
    plain.caller.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
    with pytest.raises(UsageError, match=f"needs READ COMMITTED, and this .* is {isolation}"):
        plain.enqueue(plain.send_few)
    plain.enqueue()
    plain.caller.commit()
    assert len(plain.jobs) == 1


def test_a_key_taken_since_a_snapshot_asks_for_a_repetition(plain: Shop) -> None:
    plain.send.enqueue("ben")
    plain.caller.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    plain.caller.execute("SELECT 1")
    plain.send.using(key="ann").enqueue("ann")
    with pytest.raises(UnavailableError, match="roll back and repeat the transaction"):
        plain.enqueue(key="ann")
    plain.caller.roll_back()
    assert plain.enqueue(key="ann").existing
    plain.caller.roll_back()


def test_files_go_with_the_job(plain: Shop, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with plain.caller.transaction():
        job = plain.enqueue(files={"a.txt": tmp_path / "a.txt"})
    [file] = plain.belt.store.files(job.id).result()
    assert (file.name, file.size) == ("a.txt", 5)


def test_a_job_by_name_and_a_command_can_be_enqueued_so(plain: Shop) -> None:
    connection = plain.caller.connection
    with plain.caller.transaction():
        job = plain.belt.send("other.task", {"to": "ann"}, connection=connection)
        command = plain.belt.command("true").using(connection=connection).enqueue()
    assert plain.jobs == [command.id, job.id]


# -- connections that cannot be used -----------------------------------------------------------


@pytest.mark.parametrize("kind", ["psycopg", "psycopg2", "asyncpg", "django", "sqlalchemy"])
def test_a_connection_that_commits_by_itself_has_the_job_at_once(
    kind: str, url: str, tmp_path: Path
) -> None:
    with opened(kind, url) as caller:
        shop = Shop(url, caller)
        if kind.startswith("psycopg"):
            caller.connection.autocommit = True
        if kind == "sqlalchemy":
            caller.connection = caller.connection.execution_options(isolation_level="AUTOCOMMIT")
        shop.enqueue(shop.send_few)
        shop.enqueue(shop.send_few)
        assert len(shop.jobs) == 2
        with pytest.raises(QueueFullError):
            shop.enqueue(shop.send_few)
        assert caller.execute("SELECT 1")
        shop.enqueue()
        assert len(shop.jobs) == 3
        shop.belt.close()


@pytest.mark.parametrize("kind", ["psycopg", "asyncpg", "django", "sqlalchemy"])
def test_a_transaction_in_which_a_statement_failed_is_refused(kind: str, url: str) -> None:
    with opened(kind, url) as caller:
        shop = Shop(url, caller)
        caller.begin()
        with pytest.raises(Exception, match="division by zero"):
            caller.execute("SELECT 1 / 0")
        with pytest.raises(UsageError, match="can only be rolled back"):
            shop.enqueue()
        caller.roll_back()
        shop.belt.close()


def test_a_closed_connection_is_refused(plain: Shop) -> None:
    plain.caller.connection.close()
    with pytest.raises(UsageError, match="the connection is closed"):
        plain.enqueue()


def test_a_connection_to_a_database_without_the_tables_is_refused(plain: Shop, url: str) -> None:
    with psycopg.connect(parse_address(url).server, autocommit=True) as admin:
        admin.execute("CREATE DATABASE other_place")
        try:
            server = parse_address(url).server.replace("/postgres?", "/other_place?")
            with psycopg.connect(server) as other:
                joined = plain.send.using(connection=other)
                with pytest.raises(UsageError, match=r"has not the tables of .*schema=test_"):
                    joined.enqueue("ann")
                assert other.execute("SELECT 1").fetchall() == [(1,)]
        finally:
            admin.execute("DROP DATABASE other_place")


def test_a_read_only_transaction_is_refused(plain: Shop) -> None:
    plain.caller.execute("SET TRANSACTION READ ONLY")
    with pytest.raises(UsageError, match="the transaction is read-only"):
        plain.enqueue()
    plain.caller.roll_back()


def test_a_role_without_rights_is_told_which_one_it_needs(plain: Shop) -> None:
    plain.caller.execute("CREATE ROLE nobody_yet")
    plain.caller.execute(f"GRANT USAGE ON SCHEMA {plain.schema} TO nobody_yet")
    plain.caller.execute("SET LOCAL ROLE nobody_yet")
    with pytest.raises(UnavailableError, match=r"may not write .*permission denied"):
        plain.enqueue()
    plain.caller.roll_back()


def test_what_is_no_connection_is_refused_where_it_is_given(plain: Shop) -> None:
    engine = sqlalchemy.create_engine("postgresql+psycopg://")
    for wrong in (engine, "postgresql://", 1):
        with pytest.raises(UsageError, match=r"connection: must be a connection of psycopg.*got"):
            plain.send.using(connection=wrong)
    assert plain.send.using(connection=None).enqueue("ann").state is State.AVAILABLE


@pytest.mark.parametrize("kind", ["django", "sqlalchemy"])
def test_a_connection_to_another_kind_of_database_is_refused(kind: str, plain: Shop) -> None:
    if kind == "django":
        with opened("django", plain.url):
            import django.db

            joined = plain.send.using(connection=django.db.connections["other"])
            with pytest.raises(UsageError, match="'other' is one of SQLite"):
                joined.enqueue("ann")
    else:
        engine = sqlalchemy.create_engine("sqlite://")
        with engine.connect() as connection:
            joined = plain.send.using(connection=connection)
            with pytest.raises(UsageError, match="is a connection to sqlite"):
                joined.enqueue("ann")
        engine.dispose()


def test_blocking_code_and_coroutines_need_their_own_connections(plain: Shop, url: str) -> None:
    with opened("asyncpg", url) as caller:
        with pytest.raises(UsageError, match="is for coroutines: call the twin"):
            plain.send.using(connection=caller.connection).enqueue("ann")
        joined = plain.send.using(connection=plain.caller.connection)
        with pytest.raises(UsageError, match="would block the event loop"):
            caller.call(joined.aenqueue("ann"))


@pytest.mark.parametrize("kind", ["memory:", "jobs.db"])
def test_other_stores_refuse_a_connection(kind: str, plain: Shop, tmp_path: Path) -> None:
    belt = Conveyor(kind if kind == "memory:" else tmp_path / kind)
    task = belt.task(send)
    with pytest.raises(UsageError, match="is for jobs in PostgreSQL"):
        task.using(connection=plain.caller.connection).enqueue("ann")
    belt.close()


def test_calls_of_several_connections_cannot_be_enqueued_together(plain: Shop) -> None:
    joined = plain.send.using(connection=plain.caller.connection)
    with pytest.raises(UsageError, match="have the same connection"):
        joined.enqueue_many([plain.send.bind("ann")])


def test_neither_a_task_nor_a_schedule_has_a_connection(plain: Shop) -> None:
    joined = plain.send.using(connection=plain.caller.connection)
    with pytest.raises(UsageError, match="a scheduled task cannot have a connection"):
        plain.belt.schedule("@daily")(joined)
    with pytest.raises(UsageError, match="is for one transaction"):
        plain.belt.task(connection=plain.caller.connection)(send)  # type: ignore[call-overload]
