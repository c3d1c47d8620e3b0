"""Transactions of an application that hold a bounded queue and complete a job, beside workers."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from calls import BROKEN, claim, counted, depth, hears, new, offer, put, state

from conveyor.core.job import Callback, JobRecord, NewJob, State
from conveyor.core.pending import run_sync
from conveyor.errors import NotFoundError, UnavailableError
from conveyor.runners.caller_completion import complete_within
from conveyor.store.messages import Accepted, Claimant, Exchanged, Hint, Offered, Report, Want
from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.connection import Connection
from conveyor.store.postgres.queue_holders import describe_holder
from conveyor.store.postgres.store import PostgresStore
from postgres_schema import Admin

LIMIT = 60.0
SLEEP = b"SELECT pg_sleep(60)"


class Application:
    """One transaction of an application, on a session of its own."""

    def __init__(self, store: PostgresStore) -> None:
        self.session = psycopg.connect(parse_address(store.url).server)
        self._store = store

    def enqueue(self, *jobs: NewJob, capacity: int | None) -> Accepted:
        return run_sync(
            self._store.insert_within(
                self.session, jobs, capacity=capacity, when_full="fail", in_coroutine=False
            )
        )

    def complete(self, job: JobRecord) -> None:
        schema = self._store.schema
        run_sync(complete_within(self.session, job, b"1", schema, in_coroutine=False))


@pytest.fixture
def application(postgres: PostgresStore) -> Iterator[Application]:
    opened = Application(postgres)
    yield opened
    opened.session.close()


@pytest.fixture
def other(postgres: PostgresStore) -> Iterator[Application]:
    opened = Application(postgres)
    yield opened
    opened.session.close()


class Beside:
    """A call in another thread."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.answer: Any = None
        self._thread = threading.Thread(target=self._make, args=(call,))
        self._thread.start()

    def wait(self) -> Any:
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()
        return self.answer

    def _make(self, call: Callable[[], Any]) -> None:
        try:
            self.answer = call()
        except psycopg.Error as error:
            self.answer = error


def wait_until_blocked(admin: Admin, by: psycopg.Connection[Any]) -> None:
    """Wait until some session waits for a lock of this one."""
    deadline = time.monotonic() + LIMIT
    pid = by.info.backend_pid
    while not admin.run(
        "SELECT 1 FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))", pid
    ):
        assert time.monotonic() < deadline, "nobody waits"


def test_a_rescue_waits_for_no_transaction_that_holds_a_queue_and_completes_the_job(
    postgres: PostgresStore, application: Application
) -> None:
    put(postgres, new(id="in-b", queue="b"), capacity=2)
    put(postgres, new(id="taken"))
    [job] = claim(postgres, worker="dead")
    application.enqueue(new(id="never", queue="b"), capacity=2)
    application.complete(job)
    assert postgres.rescue(dead=["dead"], limit=9).result(LIMIT) == ["taken"]
    with pytest.raises(psycopg.Error, match="job taken lost its lease before this commit") as lost:
        application.session.commit()
    assert lost.value.sqlstate == "CV010"
    assert state(postgres, "taken") is State.AVAILABLE
    with pytest.raises(NotFoundError):
        postgres.get("never").result()


def test_a_rescue_passes_over_a_job_whose_completion_is_being_committed(
    postgres: PostgresStore, application: Application, admin: Admin
) -> None:
    put(postgres, new(id="done"))
    [job] = claim(postgres, worker="dead")
    application.enqueue(new(queue="b"), capacity=2)
    application.complete(job)
    application.session.execute(
        f"SET CONSTRAINTS {admin.schema}.settle_completion IMMEDIATE".encode()
    )
    assert postgres.rescue(dead=["dead"], limit=9).result(LIMIT) == []
    application.session.commit()
    assert state(postgres, "done") is State.COMPLETED


def test_a_worker_that_reports_and_claims_holds_no_job_while_it_waits_for_a_queue(
    postgres: PostgresStore, application: Application, admin: Admin
) -> None:
    """Otherwise each of the two would wait for the other, and the server would end one of them."""
    put(postgres, new(id="done", retries=3))
    [job] = claim(postgres)
    put(postgres, new(id="in-b", queue="b", key="k"), capacity=1)
    assert isinstance(offer(postgres, new(id="waits", queue="b"), capacity=1), Offered)
    # An enqueue under a key that is taken needs no room.
    assert application.enqueue(new(queue="b", key="k"), capacity=1).existing == ("in-b",)

    def report_and_claim() -> Exchanged:
        reports, wants = [Report(job.id, job.lease, BROKEN)], [Want("b", 1)]
        return postgres.exchange(reports, wants, Claimant("w"), limit=1).result(LIMIT)

    # Of those that wait for each other, the first to look is the one that is told.
    application.session.execute("SET deadlock_timeout = '10ms'")
    exchange = Beside(report_and_claim)
    wait_until_blocked(admin, by=application.session)
    application.complete(job)
    application.session.commit()
    exchanged = exchange.wait()
    assert exchanged.settled == ()
    assert [each.id for each in exchanged.jobs] == ["in-b"]
    assert state(postgres, "done") is State.COMPLETED
    assert state(postgres, "waits") is State.AVAILABLE
    assert counted(postgres)["q"][State.RUNNING] == 0


# -- an application that keeps its transaction open ------------------------------------------------


@pytest.fixture
def kept_open(postgres: PostgresStore, application: Application) -> Application:
    """Have an open transaction hold queue b, which is full and at which a producer waits."""
    put(postgres, new(id="in-b", queue="b", key="k"), capacity=1)
    assert isinstance(offer(postgres, new(id="waits", queue="b"), capacity=1), Offered)
    assert application.enqueue(new(queue="b", key="k"), capacity=1).existing == ("in-b",)
    return application


def test_claims_of_a_queue_that_an_application_holds_go_on(
    postgres: PostgresStore, kept_open: Application
) -> None:
    put(postgres, new(id="in-q"), new(id="runs", priority=1))
    [job] = claim(postgres)
    reports = [Report(job.id, job.lease, BROKEN)]
    wants = [Want("b", 1), Want("q", 1)]
    exchanged = postgres.exchange(reports, wants, Claimant("w"), limit=2).result(LIMIT)
    assert exchanged.settled == ("runs",)
    assert [each.id for each in exchanged.jobs] == ["in-b", "in-q"]
    with pytest.raises(NotFoundError):
        postgres.get("waits").result()
    kept_open.session.commit()
    assert [each.id for each in claim(postgres, queue="b")] == []
    assert state(postgres, "waits") is State.AVAILABLE


def test_due_jobs_are_staged_while_an_application_holds_a_queue(
    postgres: PostgresStore, kept_open: Application
) -> None:
    put(postgres, new(id="late", run_at=postgres.now() + 0.01))
    claim(postgres, queue="b")
    assert postgres.cancel("in-b", reason="r").result().cancel_requested_at is not None
    deadline = time.monotonic() + LIMIT
    while state(postgres, "late") is not State.AVAILABLE:
        postgres.stage(limit=9).result(LIMIT)
        assert time.monotonic() < deadline
    with pytest.raises(NotFoundError):
        postgres.get("waits").result()
    kept_open.session.commit()
    postgres.stage(limit=9).result(LIMIT)
    assert state(postgres, "waits") is State.AVAILABLE


def test_a_waiting_job_of_a_queue_that_an_application_holds_can_be_cancelled(
    postgres: PostgresStore, kept_open: Application
) -> None:
    postgres.cancel("in-b", reason="r").result(LIMIT)
    assert state(postgres, "in-b") is State.CANCELLED
    kept_open.session.commit()
    postgres.stage(limit=9).result(LIMIT)
    assert state(postgres, "waits") is State.AVAILABLE


def test_hints_are_sent_while_an_application_holds_a_queue_with_changed_counts(
    url: str, postgres: PostgresStore, kept_open: Application, admin: Admin
) -> None:
    other = PostgresStore(url)
    heard: list[Hint] = []
    other.listen(["work"], heard.append)
    claim(postgres, queue="b")
    counts = f"SELECT DISTINCT queue FROM {admin.schema}.tally"
    put(postgres, new(queue="q"))
    deadline = time.monotonic() + LIMIT
    while admin.run(counts) != [("b",)]:  # the counts of the others are added up
        assert time.monotonic() < deadline
    put(postgres, new(queue="last"))
    while not hears(heard, "work", "last"):
        assert time.monotonic() < deadline
    kept_open.session.commit()
    while admin.run(counts):  # those of b, too
        assert time.monotonic() < deadline
    other.close()


def test_an_operator_is_told_which_transaction_holds_a_queue(
    postgres: PostgresStore, kept_open: Application, other: Application
) -> None:
    """It is waited for, but not for a minute, because a claim reads the pause in the same row."""
    other.enqueue(new(id="in-new", queue="new"), capacity=1)
    calls: list[Callable[[], Any]] = [
        lambda: postgres.set_paused("b", paused=True).result(LIMIT),
        lambda: postgres.set_capacity("b", 5).result(LIMIT),
        lambda: postgres.set_paused("new", paused=True).result(LIMIT),
    ]
    with ThreadPoolExecutor(len(calls)) as threads:
        errors = [each.exception(LIMIT) for each in [threads.submit(call) for call in calls]]
    for session in (kept_open.session, other.session):
        pid = session.info.backend_pid
        told = (
            rf"session {pid} \(.*idle in transaction\) has a transaction open for \d+ s .*{pid}\)"
        )
        for error in errors:
            assert isinstance(error, UnavailableError)
            assert re.search(told, str(error)), error
            assert str(error).endswith("Then try again.")
            assert "lock timeout" in str(error), "soon, and not once a statement takes too long"
    assert not postgres.queue_info("b").result().paused
    for session in (kept_open.session, other.session):
        session.commit()
    for call in calls:
        call()
    assert postgres.queue_info("b").result().capacity == 5
    assert [postgres.queue_info(name).result().paused for name in ("b", "new")] == [True, True]


def test_a_transaction_that_only_waits_for_a_queue_is_not_said_to_hold_it(
    postgres: PostgresStore, kept_open: Application, other: Application, admin: Admin
) -> None:
    beside = Beside(lambda: other.enqueue(new(queue="b", key="k"), capacity=1))
    wait_until_blocked(admin, by=kept_open.session)
    with pytest.raises(UnavailableError) as told:
        postgres.set_paused("b", paused=True).result(LIMIT)
    assert f"session {kept_open.session.info.backend_pid} " in str(told.value)
    assert f"session {other.session.info.backend_pid} " not in str(told.value)
    kept_open.session.commit()
    assert isinstance(beside.wait(), Accepted)


def test_a_producer_whose_statement_timed_out_is_told_which_transaction_holds_the_queue(
    postgres: PostgresStore, kept_open: Application
) -> None:
    connection = Connection(parse_address(postgres.url))
    for text, is_told in ((b"SELECT name FROM queue FOR UPDATE", True), (SLEEP, False)):
        connection.begin(reads=False)
        connection.script(b"SET LOCAL statement_timeout = '100ms'")
        with pytest.raises(psycopg.errors.QueryCanceled) as canceled:
            connection.script(text)
        told = str(connection.translate(canceled.value))
        assert (f"session {kept_open.session.info.backend_pid} (" in told) is is_told
        connection.roll_back()
    connection.close()


def test_what_is_said_about_a_holder_names_what_this_user_may_see() -> None:
    assert "session 7 (of another user) has a transaction open that" in describe_holder(
        7, None, None, None
    )
    assert "ROLLBACK PREPARED" in describe_holder(None, None, None, None)


def test_of_two_transactions_that_take_two_queues_in_opposite_orders_one_is_told(
    postgres: PostgresStore, application: Application, other: Application, admin: Admin
) -> None:
    for queue in "ab":
        put(postgres, new(queue=queue), capacity=3)
    application.enqueue(new(queue="a"), capacity=3)
    other.enqueue(new(queue="b"), capacity=3)
    other.session.execute("SET deadlock_timeout = '10ms'")
    first = Beside(lambda: application.enqueue(new(queue="b"), capacity=3))
    wait_until_blocked(admin, by=other.session)
    # The driver's own error, after which an application repeats its transaction.
    with pytest.raises(psycopg.errors.DeadlockDetected, match="deadlock detected"):
        other.enqueue(new(queue="a"), capacity=3)
    other.session.rollback()
    assert isinstance(first.wait(), Accepted)
    application.session.commit()
    assert (depth(postgres, "a"), depth(postgres, "b")) == (2, 2)
    assert postgres.check().result() == []


def test_new_queues_of_callbacks_are_made_in_one_order(
    postgres: PostgresStore, application: Application, other: Application, admin: Admin
) -> None:
    def calling(queue: str, *called: str) -> NewJob:
        events = zip(("completed", "discarded"), called, strict=False)
        return new(
            queue=queue,
            callbacks=tuple(
                Callback(on=on, task="after", parameter="ended", queue=name)  # type: ignore[arg-type]
                for on, name in events
            ),
        )

    def enqueue_first() -> Any:
        answer = application.enqueue(calling("z", "m", "a"), capacity=3)
        application.session.commit()
        return answer

    with psycopg.connect(parse_address(postgres.url).server) as maker:
        maker.execute(f"INSERT INTO {admin.schema}.queue (name) VALUES ('m')".encode())
        # It waits between the queues that it makes before `m` and those after it.
        first = Beside(enqueue_first)
        wait_until_blocked(admin, by=maker)
        second = Beside(lambda: other.enqueue(calling("a", "z"), capacity=3))
        wait_until_blocked(admin, by=application.session)
        maker.rollback()
    assert [type(each.wait()) for each in (first, second)] == [Accepted, Accepted]
    other.session.commit()
    assert postgres.check().result() == []


def test_new_lanes_are_made_in_one_order(
    postgres: PostgresStore, application: Application, other: Application, admin: Admin
) -> None:
    def labelled(labels: str) -> list[NewJob]:
        return [new(requires=(each,)) for each in labels]

    def enqueue_first() -> Any:
        answer = application.enqueue(*labelled("zma"), capacity=None)
        application.session.commit()
        return answer

    put(postgres, new())  # so that the queue is there
    with psycopg.connect(parse_address(postgres.url).server) as maker:
        maker.execute(
            f"INSERT INTO {admin.schema}.lane (queue, requires) VALUES ('q', '[\"m\"]')".encode()
        )
        first = Beside(enqueue_first)
        wait_until_blocked(admin, by=maker)
        second = Beside(lambda: other.enqueue(*labelled("az"), capacity=None))
        wait_until_blocked(admin, by=application.session)
        maker.rollback()
    assert [type(each.wait()) for each in (first, second)] == [Accepted, Accepted]
    other.session.commit()
    assert depth(postgres) == 6
    assert postgres.check().result() == []


def test_a_worker_that_accepts_an_offer_waits_for_nobody_who_enqueues_with_the_same_callback(
    postgres: PostgresStore, application: Application
) -> None:
    called = Callback(on="finished", task="after", parameter="ended", queue="new")
    put(postgres, new(queue="b"), capacity=1)
    waits = offer(postgres, new(id="waits", queue="b", callbacks=(called,)), capacity=1)
    assert isinstance(waits, Offered)
    application.enqueue(new(callbacks=(called,)), capacity=None)
    assert len(claim(postgres, queue="b")) == 1
    assert state(postgres, "waits") is State.AVAILABLE
    application.session.commit()
