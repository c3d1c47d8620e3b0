"""What every store promises to workers: order, labels, leases, and every outcome."""

from __future__ import annotations

import pytest
from calls import BROKEN, NUMBERS, claim, counted, depth, new, put, settle, state

from conveyor.core.job import ErrorInfo, OutputChunk, Progress, State, StopNote
from conveyor.core.lifecycle import (
    Cancelled,
    Crashed,
    Failed,
    Interrupted,
    Outcome,
    Snoozed,
    Succeeded,
)
from conveyor.core.retry import Fixed
from conveyor.store.messages import Claimant, Lease, Renewal, Report, Want
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock

_ = NUMBERS
CRASH = Crashed(ErrorInfo("WorkerLost", "gone"))


def test_higher_priority_first_then_longer_due_then_earlier_accepted(
    store: Store, clock: FakeClock
) -> None:
    late, low, first, second, high = (
        new(run_at=clock.now() - 1),
        new(priority=-1),
        new(run_at=clock.now() - 5),
        new(run_at=clock.now() - 5),
        new(priority=9),
    )
    put(store, late, low, first, second, high)
    got = [job.id for job in claim(store, 5)]
    assert got == [high.id, first.id, second.id, late.id, low.id]


def test_a_claimed_job_is_running_leased_and_counted(store: Store, clock: FakeClock) -> None:
    put(store, new())
    [job] = claim(store, worker="me", lease_for=30)
    assert (job.state, job.attempt, job.lease, job.worker) == (State.RUNNING, 1, 1, "me")
    assert job.lease_until == clock.now() + 30
    assert job.started_at == clock.now()
    assert store.get(job.id).result() == job
    assert counted(store)["q"][State.RUNNING] == 1


def test_no_more_is_claimed_than_asked_for_and_nothing_twice(store: Store) -> None:
    ids = put(store, *(new() for _ in range(5)))
    assert [job.id for job in claim(store, 2)] == ids[:2]
    assert [job.id for job in claim(store, 9)] == ids[2:]
    assert claim(store, 9) == []


def test_queues_are_asked_in_the_order_of_the_wants(store: Store) -> None:
    [low] = put(store, new(queue="low", priority=99))
    high = put(store, new(queue="high"), new(queue="high"))
    wants = [Want("high", 5), Want("low", 5), Want("never-used", 5)]
    jobs = store.claim(wants, Claimant("w"), limit=3).result().jobs
    assert [job.id for job in jobs] == [*high, low]


def test_a_paused_queue_hands_out_nothing_until_it_is_resumed(store: Store) -> None:
    put(store, new())
    store.set_paused("q", paused=True).result()
    assert claim(store) == []
    put(store, new())
    store.set_paused("q", paused=False).result()
    assert len(claim(store, 5)) == 2


def test_a_job_is_given_only_to_who_has_all_its_labels(store: Store) -> None:
    both, gpu, plain = new(requires=("gpu", "linux")), new(requires=("gpu",)), new()
    put(store, both, gpu, plain)
    assert [job.id for job in claim(store, 5)] == [plain.id]
    assert [job.id for job in claim(store, 5, labels=["gpu", "arm"])] == [gpu.id]
    assert [job.id for job in claim(store, 5, labels=["gpu", "linux"])] == [both.id]


def test_across_lanes_the_order_is_that_of_the_queue(store: Store) -> None:
    jobs = [new(requires=("gpu",)), new(), new(priority=1), new(requires=("gpu",), priority=1)]
    ids = put(store, *jobs)
    got = [job.id for job in claim(store, 3, labels=["gpu"])]
    assert got == [ids[2], ids[3], ids[0]]


def test_a_label_that_says_only_keeps_other_jobs_away(store: Store) -> None:
    gpu, plain = new(requires=("gpu",)), new()
    put(store, plain, gpu)
    assert [job.id for job in claim(store, 5, labels=["gpu!only"])] == [gpu.id]


def test_an_expired_job_is_discarded_instead_of_handed_out(store: Store, clock: FakeClock) -> None:
    expired, good = new(expires_at=clock.now() + 5), new()
    put(store, expired, good)
    clock.advance(5)
    assert [job.id for job in claim(store, 1)] == [good.id]
    assert state(store, expired.id) is State.DISCARDED
    assert store.history(expired.id).result()[0].error.type == "Expired"


def test_waiting_jobs_expire_without_being_asked_for(store: Store, clock: FakeClock) -> None:
    [job_id] = put(store, new(delay=60.0, expires_at=clock.now() + 5))
    clock.advance(6)
    store.stage(limit=10).result()
    assert state(store, job_id) is State.DISCARDED


def test_a_success_keeps_its_result(store: Store, clock: FakeClock) -> None:
    put(store, new())
    [job] = claim(store)
    clock.advance(2)
    assert settle(store, job, Succeeded(b'{"x":1}'))
    done = store.get(job.id).result()
    assert (done.state, done.result, done.final_at) == (State.COMPLETED, b'{"x":1}', clock.now())
    assert done.attempt == 1
    assert store.history(job.id).result() == []


OUTCOMES: list[tuple[Outcome, State, State]] = [
    (Succeeded(), State.COMPLETED, State.COMPLETED),
    (BROKEN, State.RETRYABLE, State.CANCELLED),
    (Failed(ErrorInfo("E", ""), retry=False), State.DISCARDED, State.CANCELLED),
    (CRASH, State.AVAILABLE, State.CANCELLED),
    (Snoozed(5.0), State.SCHEDULED, State.CANCELLED),
    (Cancelled("because"), State.CANCELLED, State.CANCELLED),
    (Interrupted(), State.AVAILABLE, State.CANCELLED),
]


@pytest.mark.parametrize(("outcome", "free", "stopped"), OUTCOMES)
@pytest.mark.parametrize("asked", [False, True])
def test_every_outcome_leads_to_its_state_and_a_cancel_that_was_asked_for_is_honoured(
    store: Store, outcome: Outcome, free: State, stopped: State, asked: bool
) -> None:
    put(store, new(retries=5))
    [job] = claim(store)
    if asked:
        store.cancel(job.id, reason="enough").result()
    assert settle(store, job, outcome)
    assert state(store, job.id) is (stopped if asked else free)
    counts = counted(store)["q"]
    assert counts[stopped if asked else free] == 1
    assert sum(counts.values()) == 1


def test_a_stale_lease_changes_nothing(store: Store, clock: FakeClock) -> None:
    put(store, new())
    [stale] = claim(store, worker="silent", lease_for=10)
    clock.advance(11)
    assert store.rescue(limit=10).result() == [stale.id]
    [mine] = claim(store, worker="other")
    assert mine.lease > stale.lease
    before = store.get(mine.id).result()
    lease = Lease(stale.id, stale.lease)
    chunk = OutputChunk(
        job_id=stale.id, lease=stale.lease, offset=0, stream="stdout", at=0, data=b"late"
    )
    assert not settle(store, stale, Succeeded(b"1"))
    assert not settle(store, stale, BROKEN)
    assert store.extend([lease], lease_for=60).result()[0].verdict == "lost"
    assert store.write_output([chunk]).result() == [Renewal(stale.id, "lost")]
    assert store.set_progress([(lease, Progress(1))]).result() == [Renewal(stale.id, "lost")]
    assert store.get(mine.id).result() == before
    assert store.output(mine.id, limit=9).result() == []
    assert settle(store, mine, Succeeded(b"2"))
    assert store.get(mine.id).result().result == b"2"


def test_a_settled_job_cannot_be_settled_again(store: Store) -> None:
    put(store, new())
    [job] = claim(store)
    assert settle(store, job, Succeeded())
    assert not settle(store, job, BROKEN)
    assert not settle(store, job, Succeeded())


def test_one_batch_may_hold_good_and_stale_reports(store: Store) -> None:
    put(store, new(), new(), new())
    first, second, third = claim(store, 3)
    settle(store, second, Succeeded())
    reports = [
        Report(first.id, first.lease, BROKEN),
        Report(second.id, second.lease, Succeeded()),
        Report(third.id, third.lease, Succeeded()),
        Report("nowhere", 1, Succeeded()),
    ]
    assert set(store.settle(reports).result().settled) == {first.id, third.id}


def test_exchange_settles_and_then_claims_in_one(store: Store) -> None:
    put(store, new(), new())
    [job] = claim(store)
    report = Report(job.id, job.lease, Interrupted())
    answer = store.exchange([report], [Want("q", 5)], Claimant("w"), limit=1).result()
    assert answer.settled == (job.id,)
    assert [each.id for each in answer.jobs] == [job.id]
    assert answer.jobs[0].lease == job.lease + 1


def test_a_released_job_keeps_its_place_and_its_attempts(store: Store, clock: FakeClock) -> None:
    ids = put(store, new(), new())
    [job] = claim(store)
    clock.advance(5)
    settle(store, job, Interrupted())
    again = claim(store, 2)
    assert [each.id for each in again] == ids
    assert again[0].attempt == 1
    assert store.history(job.id).result() == []


def test_a_snoozed_job_comes_back_when_it_asked_to_without_a_used_attempt(
    store: Store, clock: FakeClock
) -> None:
    put(store, new())
    [job] = claim(store)
    settle(store, job, Snoozed(30.0))
    assert store.stage(limit=5).result().next_due_at == clock.now() + 30
    clock.advance(30)
    store.stage(limit=5).result()
    assert claim(store)[0].attempt == 1


def test_a_job_is_tried_as_often_as_it_may_be_and_then_discarded_with_every_error(
    store: Store, clock: FakeClock
) -> None:
    [job_id] = put(store, new(retries=2, backoff=Fixed(10.0)))
    for attempt in (1, 2, 3):
        [job] = claim(store)
        assert job.attempt == attempt
        error = ErrorInfo("ValueError", f"number {attempt}", "Traceback …")
        settle(store, job, Failed(error))
        clock.advance(10)
        store.stage(limit=5).result()
    assert state(store, job_id) is State.DISCARDED
    lines = store.history(job_id).result()
    assert [line.error.message for line in lines] == ["number 1", "number 2", "number 3"]
    assert [line.attempt for line in lines] == [1, 2, 3]
    assert lines[0].error.traceback == "Traceback …"
    assert lines[0].became is State.RETRYABLE
    assert lines[2].became is State.DISCARDED
    assert store.get(job_id).result().error == "ValueError: number 3"


@pytest.mark.parametrize(
    ("retry_on", "becomes"),
    [
        (("ValueError",), State.RETRYABLE),
        (("Exception",), State.RETRYABLE),
        (("OSError",), State.DISCARDED),
    ],
)
def test_only_the_errors_that_were_named_are_tried_again(
    store: Store, retry_on: tuple[str, ...], becomes: State
) -> None:
    put(store, new(retries=3, retry_on=retry_on))
    [job] = claim(store)
    settle(store, job, BROKEN)
    assert state(store, job.id) is becomes


def test_extending_keeps_a_lease_beyond_its_first_end(store: Store, clock: FakeClock) -> None:
    put(store, new())
    [job] = claim(store, lease_for=10)
    clock.advance(8)
    [renewal] = store.extend([Lease(job.id, job.lease)], lease_for=10).result()
    assert renewal.verdict == "continue"
    clock.advance(8)
    assert store.rescue(limit=5).result() == []
    clock.advance(3)
    assert store.rescue(limit=5).result() == [job.id]


def test_a_keeper_extends_all_leases_of_one_worker(store: Store, clock: FakeClock) -> None:
    put(store, new(), new(), new())
    claim(store, 2, worker="kept", lease_for=10)
    [other] = claim(store, 1, worker="other", lease_for=10)
    assert store.extend_worker("kept", lease_for=30).result() == 2
    clock.advance(15)
    assert store.rescue(limit=5).result() == [other.id]


def test_a_cancel_of_a_running_job_reaches_its_owner_with_the_reason(store: Store) -> None:
    put(store, new())
    [job] = claim(store)
    asked = store.cancel(job.id, reason="not needed").result()
    assert asked.state is State.RUNNING
    assert asked.cancel_requested_at is not None
    [renewal] = store.extend([Lease(job.id, job.lease)], lease_for=10).result()
    assert (renewal.verdict, renewal.reason) == ("cancel", "not needed")


def test_jobs_of_a_dead_worker_are_rescued_at_once(store: Store) -> None:
    put(store, new(), new())
    [lost] = claim(store, worker="dead")
    claim(store, worker="alive")
    assert store.rescue(dead=["dead", "unknown"], limit=5).result() == [lost.id]
    [again] = claim(store, worker="alive")
    assert (again.id, again.attempt, again.crashes) == (lost.id, 1, 1)
    assert store.history(lost.id).result()[0].error.type == "WorkerLost"


def test_a_job_that_keeps_crashing_its_worker_is_discarded(store: Store) -> None:
    [job_id] = put(store, new(retries=99))
    for _ in range(3):
        claim(store, worker="dead")
        store.rescue(dead=["dead"], limit=5).result()
    assert state(store, job_id) is State.DISCARDED
    assert len(store.history(job_id).result()) == 3


def test_a_crash_is_blamed_on_the_jobs_that_were_begun(store: Store) -> None:
    begun, waiting = put(store, new(), new())
    claim(store, limit=2, worker="dead")
    rescued = store.rescue(dead=["dead"], begun=[begun], limit=5).result()
    assert sorted(rescued) == sorted([begun, waiting])
    crashes = {job_id: store.get(job_id).result().crashes for job_id in (begun, waiting)}
    assert crashes == {begun: 1, waiting: 0}
    assert store.history(waiting).result() == []
    assert {job.attempt for job in claim(store, limit=2)} == {1}


def test_a_rescued_job_that_was_to_be_cancelled_is_cancelled(store: Store) -> None:
    put(store, new())
    [job] = claim(store, worker="dead")
    store.cancel(job.id, reason="r").result()
    store.rescue(dead=["dead"], limit=5).result()
    assert state(store, job.id) is State.CANCELLED


def test_output_is_kept_in_order_once_and_paged(store: Store) -> None:
    put(store, new())
    [job] = claim(store)

    def chunk(offset: int, data: bytes) -> OutputChunk:
        return OutputChunk(
            job_id=job.id, lease=job.lease, offset=offset, stream="stdout", at=1.5, data=data
        )

    for chunks in [chunk(0, b"ab"), chunk(2, b"cd")], [chunk(2, b"cd"), chunk(4, b"ef")]:
        assert store.write_output(chunks).result() == [Renewal(job.id, "continue")]
    first = store.output(job.id, limit=2).result()
    rest = store.output(job.id, after=first[-1].seq, limit=9).result()
    assert [each.data for each in (*first, *rest)] == [b"ab", b"cd", b"ef"]
    assert [each.offset for each in (*first, *rest)] == [0, 2, 4]
    assert {(each.job_id, each.lease, each.stream, each.at) for each in (*first, *rest)} == {
        (job.id, job.lease, "stdout", 1.5)
    }


def test_output_of_a_later_try_follows_that_of_the_first(store: Store) -> None:
    put(store, new())
    for text in (b"first", b"second"):
        [job] = claim(store)
        written = OutputChunk(
            job_id=job.id, lease=job.lease, offset=0, stream="stderr", at=1.0, data=text
        )
        store.write_output([written]).result()
        settle(store, job, Interrupted())
    assert [each.data for each in store.output(job.id, limit=9).result()] == [b"first", b"second"]


def test_the_newest_progress_is_kept(store: Store) -> None:
    put(store, new())
    [job] = claim(store)
    lease = Lease(job.id, job.lease)
    for done in (1.0, 2.0):
        store.set_progress([(lease, Progress(done, 10.0, "working"))]).result()
    assert store.get(job.id).result().progress == Progress(2.0, 10.0, "working")


def test_the_depth_is_right_through_a_whole_life(store: Store, clock: FakeClock) -> None:
    put(store, new(retries=1, backoff=Fixed(1.0)))
    depths = [depth(store)]
    for outcome in (BROKEN, Succeeded()):
        [job] = claim(store)
        depths.append(depth(store))
        settle(store, job, outcome)
        depths.append(depth(store))
        clock.advance(1)
        store.stage(limit=5).result()
    assert depths == [1, 0, 1, 0, 0]


def test_whoever_writes_output_or_progress_hears_of_a_cancel(store: Store) -> None:
    put(store, new())
    [job] = claim(store)
    lease = Lease(job.id, job.lease)
    store.cancel(job.id, reason="enough", force=True).result()
    told = [Renewal(job.id, "cancel", "enough", forced=True)]
    chunk = OutputChunk(
        job_id=job.id, lease=job.lease, offset=0, stream="stdout", at=1.0, data=b"still here"
    )
    assert store.write_output([chunk]).result() == told
    assert store.set_progress([(lease, Progress(1))]).result() == told
    assert store.set_stopping([(lease, [StopNote(1.0, "asked")])]).result() == told
