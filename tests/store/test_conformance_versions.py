"""What every store promises about jobs that a worker's code cannot run, as in a rolling deploy."""

from __future__ import annotations

from calls import BROKEN, claim, depth, new, put, settle, state

from conveyor.core.job import SUPPORT_TIMEOUT, ErrorInfo, State, WorkerInfo
from conveyor.core.lifecycle import Unsupported
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock

NOT_HERE = Unsupported(ErrorInfo("UnknownTask", "no task named 't'"))


def test_a_job_that_is_not_supported_spends_no_attempt_and_waits_for_another_worker(
    store: Store, clock: FakeClock
) -> None:
    [job_id] = put(store, new(retries=0))
    [job] = claim(store, worker="old")
    assert settle(store, job, NOT_HERE)
    waiting = store.get(job_id).result(10)
    assert (waiting.state, waiting.attempt) == (State.RETRYABLE, 0)
    assert waiting.unsupported_since == clock.now()
    assert waiting.error == "UnknownTask: no task named 't'"
    assert depth(store) == 1
    clock.advance(1)
    store.stage(limit=10).result(10)
    [again] = claim(store, worker="new")
    assert (again.id, again.attempt) == (job_id, 1)
    assert settle(store, again, BROKEN)
    assert state(store, job_id) is State.DISCARDED


def test_two_old_workers_do_not_pass_a_job_to_and_fro(store: Store, clock: FakeClock) -> None:
    [job_id] = put(store, new())
    began, claims = clock.now(), 0
    while clock.now() < began + 3600 and claims < 40:
        for job in claim(store, worker=f"old-{claims % 2}"):
            settle(store, job, NOT_HERE)
            claims += 1
        due_at = store.stage(limit=10).result(10).next_due_at
        clock.advance(0.0 if due_at is None else max(0.0, due_at - clock.now()))
        store.stage(limit=10).result(10)
    assert claims < 40
    [first] = store.history(job_id).result(10)
    assert (first.at, first.became) == (began, State.RETRYABLE)


def test_a_job_that_no_worker_supports_for_a_day_is_discarded_with_the_reason(
    store: Store, clock: FakeClock
) -> None:
    [job_id] = put(store, new(retries=5))
    settle(store, claim(store)[0], NOT_HERE)
    clock.advance(SUPPORT_TIMEOUT)
    store.stage(limit=10).result(10)
    settle(store, claim(store)[0], NOT_HERE)
    job = store.get(job_id).result(10)
    assert job.state is State.DISCARDED
    assert job.error == "UnknownTask: no task named 't' (no worker could run it for 24 h)"
    store.retry(job_id).result(10)
    assert store.get(job_id).result(10).unsupported_since is None


def test_a_worker_says_which_tasks_it_did_not_support(store: Store) -> None:
    info = WorkerInfo(
        id="w", host="h", boot_id="b", pid=1, pid_started=1.0, started_at=0.0, slots=1,
        queues=("q",), unsupported={"t": 3},
    )  # fmt: skip
    store.beat(info).result(10)
    [known] = store.workers().result(10)
    assert known.unsupported == {"t": 3}
