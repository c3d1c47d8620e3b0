"""Which events a worker emits, and when: what they say is true in the store by then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conveyor import (
    Conveyor,
    Event,
    Job,
    JobCancelled,
    JobDiscarded,
    JobEnded,
    JobEvent,
    JobReleased,
    JobRescued,
    JobRetrying,
    JobSnoozed,
    JobStarted,
    JobSucceeded,
    Snooze,
    State,
    WorkerDraining,
    WorkerEvent,
    WorkerPaused,
    WorkerResumed,
    WorkerStarted,
    WorkerStopped,
    current_job,
)
from conveyor.core.hooks import Hooks
from conveyor.core.job import ErrorInfo, NewJob
from conveyor.core.lifecycle import Failed, Interrupted, Succeeded
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Claimant, Exchanged, Report, Want
from conveyor.testing import FakeClock
from conveyor.worker.event_delivery import EventDelivery
from conveyor.worker.job_events import JobEvents

Until = Callable[[Callable[[], object]], None]


class Heard:
    """A Conveyor in memory, what its workers emit, and the state of each job at that moment."""

    def __init__(self) -> None:
        self.belt = Conveyor("memory:")
        self.events: list[Event] = []
        self.states: list[State | None] = []
        self.belt.on(Event, self._hear)

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        is_ended = isinstance(event, JobEnded)
        self.states.append(self.belt.job(event.job_id).state if is_ended else None)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def names(self, *of: Job[Any]) -> list[str]:
        ids = {job.id for job in of}
        return [event.name for event in self.of(JobEvent) if event.job_id in ids or not of]


@pytest.fixture
def heard() -> Iterator[Heard]:
    made = Heard()
    yield made
    made.belt.close()


def test_a_job_that_succeeds_is_started_and_has_succeeded(heard: Heard) -> None:
    @heard.belt.task
    async def works() -> int:
        return 3

    job = works.enqueue()
    heard.belt.work(timeout=60)
    started, succeeded = heard.of(JobEvent)
    assert (type(started), type(succeeded)) == (JobStarted, JobSucceeded)
    assert started.job_id == succeeded.job.id == job.id
    assert started.waited >= 0
    assert succeeded.ran >= 0
    assert succeeded.state is State.COMPLETED
    assert heard.of(WorkerEvent)[0].worker == succeeded.worker


def test_a_failure_is_retrying_while_tries_are_left_and_then_a_discard(heard: Heard) -> None:
    @heard.belt.task(retries=1, backoff=0)
    def fails() -> None:
        raise ValueError("no such thing")

    job = fails.enqueue()
    heard.belt.work(timeout=60)
    assert heard.names(job) == ["job.started", "job.retrying", "job.started", "job.discarded"]
    [retrying], [discarded] = heard.of(JobRetrying), heard.of(JobDiscarded)
    for event in (retrying, discarded):
        assert event.error.type == "ValueError"
        assert isinstance(event.exception, ValueError)
        assert event.job.attempt == (1 if event is retrying else 2)
    assert (retrying.state, discarded.state) == (State.RETRYABLE, State.DISCARDED)


def test_a_discard_in_another_process_has_no_exception_but_its_error(heard: Heard) -> None:
    job = heard.belt.command("sh", "-c", "exit 3").enqueue()
    heard.belt.work(timeout=60)
    [discarded] = heard.of(JobDiscarded)
    assert (discarded.job_id, discarded.exception, discarded.error.exit_code) == (job.id, None, 3)


def test_an_event_about_an_end_comes_after_the_store_has_accepted_it(heard: Heard) -> None:
    @heard.belt.task
    async def works() -> None: ...

    @heard.belt.task
    async def fails() -> None:
        raise ValueError

    for task in (works, fails):
        task.enqueue_many([()] * 20)
    heard.belt.work(timeout=60)
    seen = [state for state in heard.states if state is not None]
    assert sorted(seen) == [State.COMPLETED] * 20 + [State.DISCARDED] * 20


def test_a_snooze_is_snoozed(heard: Heard) -> None:
    @heard.belt.task
    async def naps() -> None:
        if current_job().lease == 1:
            raise Snooze(0.0)

    job = naps.enqueue()
    heard.belt.work(timeout=60)
    assert heard.names(job) == ["job.started", "job.snoozed", "job.started", "job.succeeded"]
    [snoozed] = heard.of(JobSnoozed)
    assert (snoozed.delay, snoozed.state) == (0.0, State.SCHEDULED)


def test_a_cancelled_job_is_cancelled_even_if_its_code_failed(heard: Heard, until: Until) -> None:
    @heard.belt.task(retries=3)
    def fails_when_stopped() -> None:
        try:
            current_job().sleep(60)
        finally:
            raise ValueError("could not clean up")

    worker = heard.belt.start()
    job = fails_when_stopped.enqueue()
    until(lambda: worker.running)
    assert job.cancel(wait=60, reason="not needed")
    heard.belt.stop()
    assert heard.names(job) == ["job.started", "job.cancelled"]
    [cancelled] = heard.of(JobCancelled)
    assert "not needed" in cancelled.reason
    assert cancelled.state is State.CANCELLED


def test_a_job_that_runs_at_a_shutdown_is_released(heard: Heard, until: Until) -> None:
    @heard.belt.task
    def waits() -> None:
        current_job().sleep(60)

    worker = heard.belt.start()
    job = waits.enqueue()
    until(lambda: worker.running)
    heard.belt.stop(timeout=0)
    assert heard.names(job) == ["job.started", "job.released"]
    [released] = heard.of(JobReleased)
    assert released.state is State.AVAILABLE


def test_a_job_whose_task_is_unknown_is_released_without_a_start(
    heard: Heard, until: Until
) -> None:
    job = heard.belt.send("of another application")
    with_worker = heard.belt.start()
    until(lambda: heard.of(JobReleased))
    assert with_worker.finished == 0
    heard.belt.stop()
    assert heard.names(job)[0] == "job.released"
    assert "no task named" in heard.of(JobReleased)[0].reason


def test_a_job_that_expires_is_discarded_without_a_start(heard: Heard) -> None:
    @heard.belt.task
    async def works() -> None: ...

    job = works.using(expires_at=1.0).enqueue()
    heard.belt.work(timeout=60)
    assert heard.names(job) == ["job.discarded"]
    assert heard.of(JobDiscarded)[0].error.type == "Expired"


def test_the_life_of_a_worker(heard: Heard, until: Until) -> None:
    worker = heard.belt.start()
    until(lambda: heard.of(WorkerStarted))
    worker.call(worker.be_quiet)
    until(lambda: heard.of(WorkerPaused))
    worker.call(lambda: worker.be_quiet(quiet=False))
    until(lambda: heard.of(WorkerResumed))
    heard.belt.stop()
    kinds = [WorkerStarted, WorkerPaused, WorkerResumed, WorkerDraining, WorkerStopped]
    assert [type(event) for event in heard.of(WorkerEvent)] == kinds
    assert {event.worker for event in heard.of(WorkerEvent)} == {worker.id}


def test_a_job_of_a_dead_worker_is_rescued_by_another(heard: Heard, until: Until) -> None:
    @heard.belt.task
    async def works() -> None: ...

    job = works.enqueue()
    store = heard.belt.store
    store.claim([Want("default", 1)], Claimant("gone", 0.001), limit=1).result()
    heard.belt.start()
    until(lambda: heard.of(JobSucceeded))
    heard.belt.stop()
    assert heard.names(job) == ["job.rescued", "job.started", "job.succeeded"]
    [rescued] = heard.of(JobRescued)
    assert rescued.worker == heard.of(JobStarted)[0].worker


def test_a_handler_that_blocks_for_ever_delays_no_job_and_no_shutdown(until: Until) -> None:
    belt = Conveyor("memory:")
    gate = threading.Event()
    belt.on(Event, lambda _: gate.wait(60))

    @belt.task
    async def works() -> int:
        return 1

    jobs = works.enqueue_many([()] * 200)
    belt.work(timeout=60)
    assert [job.result(60) for job in jobs] == [1] * 200
    gate.set()
    belt.close()


def test_events_are_plain_data(heard: Heard) -> None:
    @heard.belt.task
    def fails(a: int) -> None:
        raise ValueError("no")

    fails.enqueue(3)
    heard.belt.work(timeout=60)
    [discarded] = heard.of(JobDiscarded)
    data = discarded.to_dict()
    assert data["event"] == "job.discarded"
    assert data["job"]["args"] == {"a": 3}
    assert data["error"]["message"] == "no"
    assert "exception" not in data
    assert heard.of(WorkerStarted)[0].to_dict()["event"] == "worker.started"


class Attempts:
    """The attempts of one worker at a store, without the worker."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        hooks = Hooks()
        hooks.subscribe(Event, self.events.append)
        self.delivery = _Direct(hooks)
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.job_events = JobEvents(
            self.delivery, worker="w", now=self.clock.now, elapsed=self.clock.now
        )

    def claim(self, retries: int = 0) -> Any:
        self.store.insert([NewJob(id=f"job-{self.clock.now()}", task="t")]).result()
        [job] = self.store.claim([Want("default", 1)], Claimant("w"), limit=1).result().jobs
        self.job_events.start(job)
        return job

    def settle(self, *reports: Report) -> None:
        self.job_events.settle(reports, self.store.settle(reports).result())

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events]


class _Direct(EventDelivery):
    """Delivers at once, in the thread that emits."""

    def emit(self, event: Event) -> None:
        for each in self.subscriptions:
            each.handler(event)


def test_a_report_under_a_lost_lease_is_no_event() -> None:
    attempts = Attempts()
    job = attempts.claim()
    attempts.clock.advance(61)
    attempts.store.rescue(limit=10).result()
    attempts.settle(Report(job.id, job.lease, Succeeded()))
    assert attempts.names == ["job.started"]
    attempts.settle(Report(job.id, job.lease, Succeeded()))
    assert attempts.names == ["job.started"], "and it is forgotten"


def test_of_two_reports_of_one_job_only_the_accepted_one_is_an_event() -> None:
    attempts = Attempts()
    stale = attempts.claim()
    attempts.clock.advance(61)
    attempts.store.rescue(limit=10).result()
    [job] = attempts.store.claim([Want("default", 1)], Claimant("w"), limit=1).result().jobs
    attempts.job_events.start(job)
    attempts.settle(
        Report(stale.id, stale.lease, Failed(ErrorInfo("Stale", ""))),
        Report(job.id, job.lease, Succeeded()),
    )
    assert attempts.names == ["job.started", "job.started", "job.succeeded"]


def test_an_attempt_that_left_is_an_event_only_if_its_application_completed_it() -> None:
    attempts = Attempts()
    lost = attempts.claim()
    attempts.job_events.leave(lost, completed=False)
    attempts.clock.advance(1)
    done = attempts.claim()
    attempts.job_events.leave(done, completed=True)
    attempts.job_events.leave(done, completed=True)
    assert attempts.names == ["job.started", "job.started", "job.succeeded"]


def test_a_server_that_does_not_say_what_became_of_a_job_is_not_misread() -> None:
    attempts = Attempts()
    job = attempts.claim()
    attempts.job_events.settle(
        [Report(job.id, job.lease, Failed(ErrorInfo("E", "why")))], Exchanged((job.id,), ())
    )
    assert attempts.names == ["job.started", "job.discarded"]


def test_a_job_that_was_released_before_it_started_is_no_event() -> None:
    attempts = Attempts()
    attempts.store.insert([NewJob(id="a", task="t")]).result()
    [job] = attempts.store.claim([Want("default", 1)], Claimant("w"), limit=1).result().jobs
    attempts.settle(Report(job.id, job.lease, Interrupted()))
    assert attempts.names == []


def test_the_run_time_is_that_of_the_code_and_not_of_the_report() -> None:
    attempts = Attempts()
    job = attempts.claim()
    attempts.clock.advance(2)
    attempts.job_events.end(job, None)
    attempts.clock.advance(5)
    attempts.settle(Report(job.id, job.lease, Succeeded()))
    succeeded = attempts.events[-1]
    assert isinstance(succeeded, JobSucceeded)
    assert succeeded.ran == pytest.approx(2)
