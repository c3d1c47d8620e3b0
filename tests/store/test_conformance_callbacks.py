"""What every store promises about the ends of jobs: each enqueues the job's callbacks, once."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from callback_calls import AFTER, BOTH, CALLED, DAY, ERROR, claimed, tasks, told
from calls import claim, counted, new, offer, put, settle, state

from conveyor import ErrorInfo, State
from conveyor.core.job import Options, TaskDefaults
from conveyor.core.lifecycle import (
    Cancelled,
    Failed,
    Succeeded,
    Unsupported,
)
from conveyor.store.messages import Offered
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock


def succeed(store: Store, clock: FakeClock) -> str:
    job = claimed(store)
    assert settle(store, job, Succeeded(b"1"))
    return job.id


def fail(store: Store, clock: FakeClock) -> str:
    job = claimed(store)
    assert settle(store, job, Failed(ERROR))
    return job.id


def return_too_much(store: Store, clock: FakeClock) -> str:
    job = claimed(store)
    assert settle(store, job, Succeeded(b'"' + b"x" * (1 << 20) + b'"'))
    return job.id


def stop(store: Store, clock: FakeClock) -> str:
    job = claimed(store)
    store.cancel(job.id, reason="enough").result(60)
    assert tasks(store) == [], "its code still runs"
    assert settle(store, job, Cancelled("enough"))
    return job.id


def cancel_waiting(store: Store, clock: FakeClock) -> str:
    [job_id] = put(store, new(callbacks=BOTH))
    store.cancel(job_id, reason="enough").result(60)
    return job_id


def cancel_scheduled(store: Store, clock: FakeClock) -> str:
    [job_id] = put(store, new(callbacks=BOTH, delay=50))
    store.cancel(job_id, reason="enough").result(60)
    return job_id


def expire_at_a_claim(store: Store, clock: FakeClock) -> str:
    [job_id] = put(store, new(callbacks=BOTH, expires_at=clock.now() + 5))
    clock.advance(6)
    assert claim(store) == []
    return job_id


def expire(store: Store, clock: FakeClock) -> str:
    [job_id] = put(store, new(callbacks=BOTH, expires_at=clock.now() + 5))
    clock.advance(6)
    store.stage(limit=10).result(60)
    return job_id


def drop(store: Store, clock: FakeClock) -> str:
    [job_id] = put(store, new(callbacks=BOTH), capacity=1)
    put(store, new(), capacity=1, when_full="drop_oldest")
    return job_id


def crash(store: Store, clock: FakeClock) -> str:
    job = claimed(store)
    for count in (1, 2, 3):
        assert store.rescue(dead=["w"], limit=10).result(60) == [job.id]
        if count < 3:
            assert tasks(store) == []
            [job] = claim(store)
    return job.id


def lose_its_lease_for_the_last_time(store: Store, clock: FakeClock) -> str:
    job = claimed(store, crash_limit=1)
    clock.advance(61)
    store.rescue(limit=10).result(60)
    return job.id


def find_no_worker_that_knows_it(store: Store, clock: FakeClock) -> str:
    job = claimed(store)
    assert settle(store, job, Unsupported(ErrorInfo("UnknownTask", "no task named 't'")))
    assert tasks(store) == []
    clock.advance(DAY + 1)
    store.stage(limit=10).result(60)
    [job] = claim(store)
    assert settle(store, job, Unsupported(ErrorInfo("UnknownTask", "no task named 't'")))
    return job.id


End = Callable[[Store, FakeClock], str]
ENDS: list[tuple[End, State, str]] = [
    (succeed, State.COMPLETED, ""),
    (fail, State.DISCARDED, "ValueError"),
    (return_too_much, State.DISCARDED, "EncodingError"),
    (stop, State.CANCELLED, "Cancelled"),
    (cancel_waiting, State.CANCELLED, "Cancelled"),
    (cancel_scheduled, State.CANCELLED, "Cancelled"),
    (expire_at_a_claim, State.DISCARDED, "Expired"),
    (expire, State.DISCARDED, "Expired"),
    (drop, State.DISCARDED, "Dropped"),
    (crash, State.DISCARDED, "WorkerLost"),
    (lose_its_lease_for_the_last_time, State.DISCARDED, "WorkerLost"),
    (find_no_worker_that_knows_it, State.DISCARDED, "UnknownTask"),
]


@pytest.mark.parametrize(("end", "became", "error"), ENDS, ids=[end.__name__ for end, _, _ in ENDS])
def test_every_end_of_a_job_enqueues_its_callbacks_once(
    store: Store, clock: FakeClock, end: End, became: State, error: str
) -> None:
    job_id = end(store, clock)
    assert state(store, job_id) is became
    discarded = ["alert"] if became is State.DISCARDED else []
    assert tasks(store) == ["after", *discarded]
    for task in tasks(store):
        ended = told(store, task)
        assert (ended.id, ended.task, ended.queue, ended.state) == (job_id, "t", "q", became)
        assert (ended.error.type if ended.error else "") == error
    assert counted(store)[CALLED][State.AVAILABLE] == 1 + len(discarded)
    assert store.check().result(60) == []
    store.stage(limit=10).result(60)
    store.rescue(limit=10).result(60)
    assert len(tasks(store)) == 1 + len(discarded)


def test_a_callback_is_told_the_error_without_its_traceback(store: Store, clock: FakeClock) -> None:
    assert settle(store, claimed(store), Failed(ErrorInfo("E", "why", "Traceback", ("B",), 7)))
    assert told(store, "alert").error == ErrorInfo("E", "why", exit_code=7)


def test_a_callback_has_the_options_and_the_priority_of_its_task(store: Store) -> None:
    options = Options(retries=4, requires=("gpu",), meta={"by": "us"})
    put(store, new(callbacks=(msgspec.structs.replace(AFTER, options=options),)))
    [job] = claim(store)
    settle(store, job, Succeeded())
    assert claim(store, queue=CALLED) == []
    [called] = claim(store, queue=CALLED, labels=["gpu"])
    assert (called.task, called.priority, called.options) == ("after", 3, options)
    assert set(msgspec.json.decode(called.args)) == {"job"}


def test_the_queue_of_a_callback_exists_as_soon_as_its_job_waits_for_room(store: Store) -> None:
    answer = offer(store, new(callbacks=BOTH), capacity=0)
    assert isinstance(answer, Offered)
    assert set(counted(store)) == {"q", CALLED}


def test_the_queue_of_a_callback_exists_even_if_the_key_of_its_job_is_taken(store: Store) -> None:
    put(store, new(key="k"))
    put(store, new(key="k", callbacks=BOTH))
    assert set(counted(store)) == {"q", CALLED}


def test_the_queue_of_a_callback_exists_as_soon_as_a_task_declares_it(store: Store) -> None:
    store.put_tasks([TaskDefaults(name="t", callbacks=BOTH)]).result(60)
    assert set(counted(store)) == {CALLED}
