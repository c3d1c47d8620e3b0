"""What every store promises about the jobs that callbacks enqueue, and when they do not."""

from __future__ import annotations

import msgspec
import pytest
from callback_calls import AFTER, ALERT, BOTH, CALLED, DAY, ERROR, calls, claimed, tasks
from calls import BROKEN, claim, depth, new, offer, put, settle, state

from conveyor import State, UsageError
from conveyor.core.callbacks import callback_id
from conveyor.core.job import COMMAND_TASK, Callback, Options, ScheduleInfo, TaskDefaults
from conveyor.core.lifecycle import (
    Crashed,
    Failed,
    Interrupted,
    Outcome,
    Snoozed,
    Succeeded,
    Unsupported,
)
from conveyor.store.messages import Accepted, Filter, Lease, Report
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock


@pytest.mark.parametrize(
    "outcome", [Interrupted(), Snoozed(5.0), Crashed(ERROR), Unsupported(ERROR)]
)
def test_a_job_that_runs_again_has_not_ended(store: Store, outcome: Outcome) -> None:
    assert settle(store, claimed(store), outcome)
    assert tasks(store) == []


def test_a_retry_to_come_calls_nothing_and_the_last_failure_does(
    store: Store, clock: FakeClock
) -> None:
    job = claimed(store, retries=1)
    settle(store, job, Failed(ERROR))
    assert tasks(store) == []
    clock.advance(DAY)
    store.stage(limit=10).result(60)
    [job] = claim(store)
    settle(store, job, Failed(ERROR))
    assert tasks(store) == ["after", "alert"]


def test_a_report_under_a_lost_lease_calls_nothing(store: Store, clock: FakeClock) -> None:
    stale = claimed(store)
    clock.advance(61)
    store.rescue(limit=10).result(60)
    assert not settle(store, stale, Failed(ERROR))
    assert not settle(store, stale, Succeeded())
    assert tasks(store) == []


def test_many_jobs_that_end_in_one_batch_call_each_their_own(store: Store) -> None:
    one_alert = new(callbacks=(ALERT,))
    put(store, *(new(callbacks=(AFTER,)) for _ in range(4)), one_alert, new())
    jobs = claim(store, 10)
    reports = [Report(job.id, job.lease, Succeeded()) for job in jobs]
    reports[1] = Report(jobs[1].id, jobs[1].lease, Failed(ERROR))
    reports.append(reports[0])
    store.settle(reports).result(60)
    found = [msgspec.json.decode(job.args)["job"] for job in calls(store)]
    assert sorted(each["id"] for each in found) == sorted(job.id for job in jobs[:4])
    states = {each["id"]: each["state"] for each in found}
    assert states[jobs[1].id] == "discarded"
    assert states[jobs[0].id] == "completed"


def test_the_id_of_a_callback_follows_from_the_end_that_it_is_for(store: Store) -> None:
    job = claimed(store)
    settle(store, job, Failed(ERROR))
    for _ in range(2):
        store.retry(job.id).result(60)
        [again] = claim(store)
        settle(store, again, Succeeded())
    after = {each.id for each in calls(store) if each.task == "after"}
    assert after == {callback_id(job.id, "finished", run) for run in (1, 2, 3)}
    [alert] = [each for each in calls(store) if each.task == "alert"]
    assert alert.id == callback_id(job.id, "discarded", 1)


def test_a_retry_of_a_job_that_has_not_ended_changes_no_callback(store: Store) -> None:
    [job_id] = put(store, new(callbacks=BOTH, delay=50))
    store.retry(job_id).result(60)
    [job] = claim(store)
    settle(store, job, Succeeded())
    assert [each.id for each in calls(store)] == [callback_id(job_id, "finished", 1)]


def test_an_id_that_somebody_has_taken_does_not_keep_the_job_from_ending(store: Store) -> None:
    job = claimed(store)
    put(store, new(id=callback_id(job.id, "finished", 1), queue="other"))
    assert settle(store, job, Succeeded())
    assert state(store, job.id) is State.COMPLETED
    assert tasks(store) == []


def test_a_callback_enters_a_full_queue_and_producers_wait_until_it_has_gone(
    store: Store,
) -> None:
    put(store, new(queue=CALLED), capacity=1)
    settle(store, claimed(store), Succeeded())
    assert depth(store, CALLED) == 2
    waiting = offer(store, new(queue=CALLED), capacity=1)
    assert not isinstance(waiting, Accepted)
    claim(store, queue=CALLED)
    assert depth(store, CALLED) == 1, "above the capacity, nobody else gets in"
    assert store.accepted(waiting.offer).result(60) is None
    claim(store, queue=CALLED)
    assert store.accepted(waiting.offer).result(60) is not None


def test_a_callback_enters_a_rendezvous(store: Store) -> None:
    put(store, new(callbacks=BOTH))
    offer(store, new(queue=CALLED, delay=0), capacity=0)
    [job] = claim(store)
    settle(store, job, Succeeded())
    assert [each.task for each in claim(store, 2, queue=CALLED)][:1] == ["after"]


def test_an_offer_that_is_accepted_brings_its_callbacks_along(store: Store) -> None:
    put(store, new(), capacity=1)
    offer(store, new(id="waits", callbacks=BOTH), capacity=1)
    claim(store)
    [job] = claim(store)
    assert job.id == "waits"
    settle(store, job, Succeeded())
    assert tasks(store) == ["after"]


def test_a_request_that_is_repeated_adds_no_second_callback(store: Store) -> None:
    job = new(callbacks=BOTH)
    for again in (False, True):
        store.insert([job], capacity=None, when_full="wait", again=again).result(60)
    [running] = claim(store)
    settle(store, running, Failed(ERROR))
    assert tasks(store) == ["after", "alert"]


def test_a_job_whose_key_was_taken_has_no_callback(store: Store) -> None:
    put(store, new(key="k"))
    put(store, new(key="k", callbacks=BOTH))
    [job] = claim(store)
    settle(store, job, Succeeded())
    assert tasks(store) == []


def test_a_job_enqueued_before_its_task_was_declared_gets_the_declared_callbacks(
    store: Store,
) -> None:
    other = msgspec.structs.replace(ALERT, task="own")
    put(store, new(given=()), new(given=(), callbacks=(other,)))
    store.put_tasks([TaskDefaults(name="t", callbacks=BOTH)]).result(60)
    for job in claim(store, 2):
        settle(store, job, Failed(ERROR))
    assert tasks(store) == ["after", "after", "alert", "own"]
    declared = store.task_defaults("t").result(60)
    assert declared is not None
    assert declared.callbacks == BOTH


def test_a_tick_brings_the_callbacks_of_its_jobs(store: Store, clock: FakeClock) -> None:
    schedule = ScheduleInfo(name="s", cron="@hourly", timezone="UTC", missed="once", next_at=5.0)
    store.put_schedule(schedule).result(60)
    store.tick("s", due_at=5.0, next_at=3605.0, jobs=[new(callbacks=BOTH)]).result(60)
    [job] = claim(store)
    settle(store, job, Succeeded())
    assert tasks(store) == ["after"]


def test_a_deleted_or_pruned_job_calls_nothing_and_leaves_nothing(
    store: Store, clock: FakeClock
) -> None:
    first, second = claimed(store), claimed(store)
    for job in (first, second):
        settle(store, job, Succeeded())
    store.delete(first.id).result(60)
    clock.advance(DAY)
    put(store, new())
    assert store.prune({State.COMPLETED: 60.0}, limit=10).result(60) == 1
    assert len(tasks(store)) == 2
    assert not store.find(Filter(states=frozenset({State.COMPLETED})), limit=5).result(60)


WRONG: list[tuple[tuple[Callback, ...], str]] = [
    ((ALERT, ALERT), "one callback for discards"),
    ((msgspec.structs.replace(ALERT, task=COMMAND_TASK),), "cannot be a callback"),
    ((msgspec.structs.replace(ALERT, task=""),), "task"),
    ((msgspec.structs.replace(ALERT, queue="q\0"),), "queue"),
    ((msgspec.structs.replace(ALERT, parameter="p" * 300),), "parameter"),
    ((msgspec.structs.replace(ALERT, options=Options(key="k")),), "cannot have key"),
    ((msgspec.structs.replace(ALERT, options=Options(expires_at=1.0)),), "expires_at"),
    ((msgspec.structs.replace(ALERT, options=Options(grace=-1.0)),), "grace"),
]


@pytest.mark.parametrize(("callbacks", "message"), WRONG, ids=[each for _, each in WRONG])
def test_a_callback_that_could_not_run_is_refused(
    store: Store, callbacks: tuple[Callback, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        put(store, new(callbacks=callbacks))
    with pytest.raises(UsageError, match=message):
        store.put_tasks([TaskDefaults(name="t", callbacks=callbacks)]).result(60)
    assert claim(store) == []


def test_an_exchange_says_what_became_of_jobs_that_did_not_succeed(store: Store) -> None:
    put(store, *(new(retries=1) for _ in range(4)), new())
    jobs = claim(store, 5)
    store.cancel(jobs[1].id, reason="enough").result(60)
    outcomes: list[Outcome] = [Succeeded(), BROKEN, BROKEN, Interrupted(), BROKEN]
    reports = [Report(job.id, job.lease, each) for job, each in zip(jobs, outcomes, strict=True)]
    reports[2] = Report(jobs[2].id, jobs[2].lease + 1, BROKEN)
    answer = store.settle(reports).result(60)
    assert answer.became == {
        jobs[1].id: State.CANCELLED,
        jobs[3].id: State.AVAILABLE,
        jobs[4].id: State.DISCARDED,
    }


def test_a_lease_is_no_end(store: Store) -> None:
    job = claimed(store)
    store.extend([Lease(job.id, job.lease)], lease_for=60).result(60)
    assert tasks(store) == []
