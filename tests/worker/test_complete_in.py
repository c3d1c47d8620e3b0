"""A job that completes in the transaction of its own writes: its effects are there exactly once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import asyncpg
import psycopg
import pytest

from conveyor import Conveyor, EncodingError, Job, State, UsageError, current_job
from conveyor.errors import ConveyorError, InvalidTransitionError
from conveyor.store.postgres.address import parse_address
from postgres_schema import Schemas


@dataclass
class Place:
    """A database with jobs and a table of effects."""

    belt: Conveyor
    server: str
    effects_table: str

    def insert(self, session: Any) -> None:
        job = current_job()
        session.execute(f"INSERT INTO {self.effects_table} VALUES ('{job.id}', {job.attempt})")

    @property
    def effects(self) -> list[tuple[str, int]]:
        with psycopg.connect(self.server) as session:
            rows = session.execute(f"SELECT * FROM {self.effects_table} ORDER BY 1, 2").fetchall()
        return [(job, attempt) for job, attempt in rows]

    def run(self, function: Callable[[], Any], **options: Any) -> Job[Any]:
        """Run one job to its end."""
        job = self.belt.task(name="t", backoff=0, **options)(function).enqueue()
        self.belt.work(timeout=60, queues=["default"], keep=False)
        return job.refresh()


@pytest.fixture
def place(schemas: Schemas) -> Iterator[Place]:
    with schemas.one() as url:
        server = parse_address(url).server
        belt = Conveyor(url)
        table = f"effects_of_{parse_address(url).schema}"
        with psycopg.connect(server, autocommit=True) as session:
            session.execute(f"CREATE TABLE {table} (job TEXT, attempt INT)")
            yield Place(belt, server, table)
            belt.close()
            session.execute(f"DROP TABLE {table}")


def wait_until_blocked(server: str, pid: int) -> None:
    deadline = time.monotonic() + 60
    with psycopg.connect(server, autocommit=True) as session:
        while session.execute("SELECT pg_blocking_pids(%s)", (pid,)).fetchall() == [([],)]:
            assert time.monotonic() < deadline, "the session waits for nobody"


def test_of_two_transactions_that_complete_a_job_at_once_one_can_commit(place: Place) -> None:
    def function() -> str:
        job = current_job()
        connect = psycopg.connect
        with closing(connect(place.server)) as first, closing(connect(place.server)) as second:
            for session in (first, second):
                place.insert(session)
            job.complete_in(first, "once")
            with ThreadPoolExecutor(1) as threads:
                twice = threads.submit(job.complete_in, second, "twice")
                wait_until_blocked(place.server, second.info.backend_pid)
                first.commit()
                with pytest.raises(InvalidTransitionError):
                    twice.result(60)
        return "unused"

    job = place.run(function)
    assert (job.state, job.result()) == (State.COMPLETED, "once")
    assert place.effects == [(job.id, 1)]


def test_a_thread_completes_its_job_with_its_own_commit(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    def function() -> str:
        print("before")
        with psycopg.connect(place.server) as session:
            place.insert(session)
            current_job().complete_in(session, "from the transaction")
        print("after")
        return "from the function"

    with caplog.at_level(logging.WARNING):
        job = place.run(function)
    assert (job.state, job.result()) == (State.COMPLETED, "from the transaction")
    assert place.effects == [(job.id, 1)]
    assert job.logs() == "before\nafter\n"
    assert caplog.records == []
    counts = place.belt.store.queue_info("default").result().counts
    assert (counts[State.RUNNING], counts[State.COMPLETED]) == (0, 1)
    past = place.belt.store.queue_history("default", step=3600.0).result().points
    assert sum(each.completed for each in past) == sum(each.running.count for each in past) == 1


def test_a_coroutine_completes_its_job_with_its_own_commit(place: Place) -> None:
    async def function() -> None:
        session = await asyncpg.connect(place.server)
        async with session.transaction():
            await session.execute(
                f"INSERT INTO {place.effects_table} VALUES ($1, 1)", current_job().id
            )
            await current_job().acomplete_in(session)
        await session.close()

    job = place.run(function)
    assert (job.state, job.result()) == (State.COMPLETED, None)
    assert place.effects == [(job.id, 1)]


def test_a_rolled_back_completion_leaves_the_job_to_its_function(place: Place) -> None:
    def function() -> str:
        with psycopg.connect(place.server) as session:
            place.insert(session)
            current_job().complete_in(session, "from the transaction")
            session.rollback()
        return "from the function"

    job = place.run(function)
    assert job.result() == "from the function"
    assert place.effects == []


def test_a_function_that_fails_before_its_commit_is_tried_again(place: Place) -> None:
    def function() -> None:
        with psycopg.connect(place.server) as session:
            place.insert(session)
            current_job().complete_in(session)
            if current_job().attempt == 1:
                raise ValueError("not yet")

    job = place.run(function, retries=1)
    assert job.state is State.COMPLETED
    assert place.effects == [(job.id, 2)]


def test_what_fails_after_the_commit_is_logged_and_not_tried_again(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    def function() -> None:
        with psycopg.connect(place.server) as session:
            place.insert(session)
            current_job().complete_in(session)
        raise ValueError("too late")

    job = place.run(function, retries=3)
    assert (job.state, job.record.attempt) == (State.COMPLETED, 1)
    assert place.effects == [(job.id, 1)]
    [record] = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert "job.failed_after_completion" in record.getMessage()
    assert "too late" in record.getMessage()


def lose_lease(place: Place, job_id: str) -> None:
    """Have another worker hold a job."""
    schema = parse_address(place.belt.url).schema
    with psycopg.connect(place.server, autocommit=True) as session:
        session.execute(
            f"UPDATE {schema}.job SET lease = 2, worker = 'other', lease_until = 9e9 "
            f"WHERE id = '{job_id}'"
        )


@pytest.mark.parametrize("when", ["before the call", "before the commit"])
def test_a_lost_lease_keeps_the_transaction_from_committing(place: Place, when: str) -> None:
    errors: list[BaseException] = []

    def function() -> None:
        try:
            # psycopg does not close a connection whose commit fails.
            with closing(psycopg.connect(place.server)) as session, session:
                place.insert(session)
                if when == "before the call":
                    lose_lease(place, current_job().id)
                current_job().complete_in(session)
                if when == "before the commit":
                    lose_lease(place, current_job().id)
        except (ConveyorError, psycopg.Error) as error:
            errors.append(error)
            raise

    job = place.run(function)
    assert (job.state, job.record.lease) == (State.RUNNING, 2)
    assert place.effects == []
    [error] = errors
    if when == "before the call":
        assert isinstance(error, InvalidTransitionError)
        assert "another worker may run it: roll back" in str(error)
    else:
        assert "lost its lease before this commit" in str(error)


def test_a_key_is_free_at_the_commit_and_waiting_callers_are_told(place: Place) -> None:
    def function() -> str:
        with psycopg.connect(place.server) as session:
            current_job().complete_in(session, "done")
        return ""

    task = place.belt.task(name="t")(function)
    job = task.using(key="one").enqueue()
    waited = threading.Thread(target=job.wait, args=(60,))
    waited.start()
    place.belt.work(timeout=60, queues=["default"], keep=False)
    waited.join()
    assert not task.using(key="one").enqueue().existing


def test_a_transaction_that_stays_open_keeps_no_lease_from_being_renewed(place: Place) -> None:
    def function() -> None:
        job = current_job()
        with psycopg.connect(place.server) as session:
            job.complete_in(session)
            store = place.belt.store
            assert store.extend_worker(str(store.get(job.id).result().worker), lease_for=9).result()

    assert place.run(function).state is State.COMPLETED


def test_a_long_function_goes_on_after_its_commit(place: Place) -> None:
    stopped: list[bool] = []

    def function() -> None:
        job = current_job()
        with psycopg.connect(place.server) as session:
            job.complete_in(session)
        stopped.append(job._link.wait_for_stop(2.5))  # longer than until the next renewal

    task = place.belt.task(name="t")(function)
    job = task.enqueue()
    place.belt.work(timeout=60, queues=["default"], keep=False, lease_for=8.0)
    assert job.refresh().state is State.COMPLETED
    assert stopped == [False]


def test_only_a_result_that_the_function_could_return_is_taken(place: Place) -> None:
    errors: list[Exception] = []

    def function() -> int:
        with psycopg.connect(place.server) as session:
            for wrong in ("x", None):
                try:
                    current_job().complete_in(session, wrong)
                except EncodingError as error:
                    errors.append(error)
            current_job().complete_in(session, 1)
            current_job().complete_in(session, 2)
        return 3

    assert place.run(function).result() == 2
    assert len(errors) == 2


def test_other_stores_refuse_to_complete_in_a_transaction(place: Place) -> None:
    errors: list[Exception] = []
    belt = Conveyor("memory:")

    @belt.task
    def function() -> None:
        with psycopg.connect(place.server) as session:
            try:
                current_job().complete_in(session)
            except UsageError as error:
                errors.append(error)

    job = function.enqueue()
    belt.work(timeout=60)
    assert job.refresh().state is State.COMPLETED
    assert "is for jobs in PostgreSQL" in str(errors[0])
    belt.close()
