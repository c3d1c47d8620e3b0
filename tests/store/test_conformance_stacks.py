"""What every store promises about dumps of what running jobs do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from calls import claim, hears, new, put, settle

from conveyor import InvalidTransitionError, NotFoundError
from conveyor.core.lifecycle import Interrupted
from conveyor.core.stack import KEPT, MAX_FRAMES, MAX_TEXT, Frame, ProcessState, StackDump
from conveyor.store.messages import Hint, Lease
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock

DUMP = StackDump(
    kind="process",
    frames=(Frame("/app/jobs.py", 7, "work", "time.sleep(9)"),),
    processes=(ProcessState(10, 1, "python jobs.py", "S", 4096),),
)


def running(store: Store) -> Lease:
    put(store, new())
    [job] = claim(store)
    return Lease(job.id, job.lease)


def test_a_requested_dump_is_made_by_the_worker_that_runs_the_job(store: Store) -> None:
    lease = running(store)
    assert store.stack(lease.id).result() is None
    store.request_stack(lease.id).result()
    asked = store.stack(lease.id).result()
    assert asked is not None
    assert (asked.taken_at, asked.dump) == (None, None)
    assert store.stack_requests("w").result() == [lease]
    assert store.stack_requests("another").result() == []
    assert store.put_stack(lease, DUMP).result() is True
    answered = store.stack(lease.id).result()
    assert answered is not None
    assert answered.dump == DUMP
    assert answered.taken_at is not None
    assert store.stack_requests("w").result() == []


def test_a_worker_hears_of_a_request(store: Store, until: Callable[..., None]) -> None:
    lease = running(store)
    heard: list[Hint] = []
    stop = store.listen(["stack"], heard.append)
    store.request_stack(lease.id).result()
    until(lambda: hears(heard, "stack", "w"))
    stop()


def test_a_new_request_replaces_the_dump_before(store: Store) -> None:
    lease = running(store)
    store.request_stack(lease.id).result()
    store.put_stack(lease, DUMP).result()
    store.request_stack(lease.id).result()
    assert store.stack_requests("w").result() == [lease]
    answer = store.stack(lease.id).result()
    assert answer is not None
    assert answer.dump is None


def test_only_a_dump_that_was_requested_under_the_lease_is_stored(store: Store) -> None:
    lease = running(store)
    assert store.put_stack(lease, DUMP).result() is False
    store.request_stack(lease.id).result()
    assert store.put_stack(Lease(lease.id, lease.lease + 1), DUMP).result() is False
    assert store.put_stack(lease, DUMP).result() is True
    assert store.put_stack(lease, DUMP).result() is False


def test_no_dump_is_stored_of_a_job_that_runs_no_more_under_the_lease(store: Store) -> None:
    lease = running(store)
    store.request_stack(lease.id).result()
    settle(store, store.get(lease.id).result(), Interrupted())
    assert store.put_stack(lease, DUMP).result() is False
    [again] = claim(store)
    assert store.put_stack(Lease(again.id, again.lease), DUMP).result() is False


def test_there_is_no_stack_of_a_job_that_does_not_run_or_is_unknown(store: Store) -> None:
    [job_id] = put(store, new())
    with pytest.raises(InvalidTransitionError, match="available, not running"):
        store.request_stack(job_id).result()
    for call in (store.request_stack, store.stack):
        with pytest.raises(NotFoundError):
            call("unknown").result()


def test_a_large_dump_keeps_its_innermost_frames_and_the_start_of_each_text(store: Store) -> None:
    lease = running(store)
    store.request_stack(lease.id).result()
    frames = tuple(Frame("f" * 9000, line, "deep", "x" * 9000) for line in range(1000))
    assert store.put_stack(lease, StackDump(kind="thread", frames=frames)).result() is True
    answer = store.stack(lease.id).result()
    assert answer is not None
    assert answer.dump is not None
    kept = answer.dump.frames
    assert [frame.line for frame in kept] == list(range(1000 - MAX_FRAMES, 1000))
    assert {len(frame.file) for frame in kept} == {len(frame.code) for frame in kept} == {MAX_TEXT}
    assert "of 1,000 frames" in answer.dump.note


def test_a_request_is_forgotten_after_an_hour(store: Store, clock: FakeClock) -> None:
    lease = running(store)
    store.request_stack(lease.id).result()
    clock.advance(KEPT + 1)
    assert store.stack(lease.id).result() is None
    store.prune({}, limit=10).result()
    assert store.stack_requests("w").result() == []
