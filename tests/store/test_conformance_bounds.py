"""What every store promises about sizes: all that is stored has a bound."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from calls import claim, depth, new, put, settle, state

from conveyor.core.access import Token
from conveyor.core.bounds import BOUNDS
from conveyor.core.job import (
    ErrorInfo,
    Options,
    Progress,
    ScheduleInfo,
    State,
    StopNote,
    TaskDefaults,
    WorkerInfo,
)
from conveyor.core.lifecycle import Cancelled, Crashed, Failed, Outcome, Succeeded, Unsupported
from conveyor.errors import NotFoundError, UsageError
from conveyor.store.messages import Lease
from conveyor.store.protocol import Store

LONG = "y" * 200_000
LIMITS = {field: bound.limit for field, bound in BOUNDS.items()}

TOO_LARGE: tuple[tuple[dict[str, Any], str], ...] = (
    ({"meta": {"a": "y" * 16_384}}, r"meta: 16,392 bytes of JSON .* the limit of 16,384"),
    ({"meta": dict.fromkeys(map(str, range(20_000)))}, "meta: 20,000 entries .* limit of 16,384"),
    ({"requires": tuple(map(str, range(101)))}, "requires: 101 labels .* the limit of 100"),
    ({"retry_on": ("E",) * 101}, "retry_on: 101 names are above the limit of 100"),
    ({"retry_on": ("E" * 501,)}, "retry_on: 501 characters are above the limit of 500"),
    ({"artifacts": tuple(map(str, range(1001)))}, "at most 1,000 patterns"),
)
AS_LARGE_AS_ALLOWED = {
    "meta": {"a": "y" * (16_384 - 8)},
    "requires": tuple(map(str, range(100))),
    "retry_on": ("E" * 500, *map("E{}".format, range(99))),
    "artifacts": tuple(map(str, range(1000))),
}


@pytest.mark.parametrize(("options", "said"), TOO_LARGE)
def test_options_above_their_bound_are_refused(
    store: Store, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        put(store, new(id="good"), new(id="large", **options))
    with pytest.raises(NotFoundError):
        store.get("good").result()
    with pytest.raises(UsageError, match=said):
        store.put_tasks([TaskDefaults(name="mail", options=Options(**options))]).result()


def test_options_at_their_bound_come_back(store: Store) -> None:
    [job_id] = put(store, new(**AS_LARGE_AS_ALLOWED))
    found = store.get(job_id).result().options
    assert {name: getattr(found, name) for name in AS_LARGE_AS_ALLOWED} == AS_LARGE_AS_ALLOWED


@pytest.mark.parametrize("field", ["id", "task", "queue"])
def test_a_name_that_is_too_long_is_refused_by_its_length(store: Store, field: str) -> None:
    with pytest.raises(UsageError, match="1 to 200 characters") as refused:
        put(store, new(**{field: LONG}))
    assert len(str(refused.value)) < 1000
    assert depth(store) == 0


def test_a_result_that_is_too_large_fails_its_attempt(store: Store) -> None:
    [job_id] = put(store, new(retries=1))
    large = b'"%b"' % (b"y" * (LIMITS["result"] - 2))
    [job] = claim(store)
    assert settle(store, job, Succeeded(large + b" "))
    failed = store.get(job_id).result()
    assert (failed.state, failed.result) == (State.RETRYABLE, None)
    assert "the result is 1,048,577 bytes of JSON, above the limit of 1,048,576" in str(
        failed.error
    )
    store.retry(job_id).result()
    [job] = claim(store)
    assert settle(store, job, Succeeded(large))
    assert store.get(job_id).result().result == large


LARGE_ERROR = ErrorInfo(LONG, LONG, "first" + LONG + "last", (LONG,) * 1000)


@pytest.mark.parametrize(
    "outcome", [Failed(LARGE_ERROR), Crashed(LARGE_ERROR), Unsupported(LARGE_ERROR)]
)
def test_texts_of_an_error_are_cut_with_a_mark(store: Store, outcome: Outcome) -> None:
    [job_id] = put(store, new(retries=1))
    [job] = claim(store)
    assert settle(store, job, outcome)
    [entry] = store.history(job_id).result()
    error = entry.error
    assert len(error.type) == LIMITS["class"]
    assert len(error.message) == LIMITS["message"]
    assert error.message.endswith("… (cut, 200,000 characters)")
    assert len(error.traceback) == LIMITS["traceback"]
    assert error.traceback.startswith("… (cut, 200,009 characters)\n")
    assert error.traceback.endswith("last")
    assert len(error.bases) == LIMITS["bases"]
    assert max(map(len, error.bases)) == LIMITS["class"]


def test_reasons_of_cancels_are_cut_with_a_mark(store: Store) -> None:
    waiting, running = put(store, new(id="a"), new(id="b"))
    [job] = claim(store)
    ended, asked = (waiting, running) if job.id == running else (running, waiting)
    for job_id in (ended, asked):
        store.cancel(job_id, reason=LONG).result()
    [verdict] = store.extend([Lease(job.id, job.lease)], lease_for=60).result()
    assert len(verdict.reason) == LIMITS["reason"]
    assert settle(store, job, Cancelled(LONG))
    for job_id in (ended, asked):
        [entry] = store.history(job_id).result()
        assert len(entry.error.message) <= LIMITS["message"]
        assert entry.error.message.endswith("characters)")


def test_progress_and_the_steps_of_a_stop_are_cut_with_a_mark(store: Store) -> None:
    [job_id] = put(store)
    [job] = claim(store)
    lease = Lease(job.id, job.lease)
    store.set_progress([(lease, Progress(1.0, 2.0, LONG))]).result()
    steps = [StopNote(float(number), LONG) for number in range(105)]
    store.set_stopping([(lease, steps)]).result()
    found = store.get(job_id).result()
    assert found.progress is not None
    assert (found.progress.done, found.progress.total) == (1.0, 2.0)
    assert len(found.progress.message) == LIMITS["progress"]
    assert found.progress.message.endswith("… (cut, 200,000 characters)")
    assert len(found.stopping) == LIMITS["stopping"]
    assert {len(each.text) for each in found.stopping[:-1]} == {LIMITS["step"]}
    assert found.stopping[-1] == StopNote(104.0, "… (cut, 105 steps)")
    assert state(store, job_id) is State.RUNNING


TOKEN = Token(id="abcdefgh", name="n", digest="d", scopes=frozenset(["read"]), created_at=1.0)
LARGE_TOKENS = {
    "id": {"id": LONG},
    "name": {"name": "n" * 101},
    "digest": {"digest": "d" * 65},
    "queues": {"queues": ("q",) * 1001},
    "queue": {"queues": (LONG,)},
}


@pytest.mark.parametrize("given", LARGE_TOKENS.values(), ids=LARGE_TOKENS)
def test_a_token_above_its_bounds_is_refused(store: Store, given: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as refused:
        store.add_token(msgspec.structs.replace(TOKEN, **given)).result()
    assert len(str(refused.value)) < 1000
    assert store.tokens(limit=10).result() == []


@pytest.mark.parametrize("field", ["name", "cron", "timezone"])
def test_a_schedule_above_its_bounds_is_refused(store: Store, field: str) -> None:
    fields = {"name": "s", "cron": "* * * * *", "timezone": "UTC", field: LONG}
    with pytest.raises(UsageError) as refused:
        store.put_schedule(ScheduleInfo(**fields, missed="skip", next_at=1.0)).result()
    assert len(str(refused.value)) < 1000
    assert store.schedules().result() == []


WORKER = WorkerInfo(
    id="w", host="h", boot_id="b", pid=1, pid_started=0.0, started_at=0.0, slots=1, queues=("q",)
)


def test_a_worker_whose_description_is_too_large_is_refused(store: Store) -> None:
    queues = tuple(f"{number:0100}" for number in range(700))
    with pytest.raises(UsageError, match=r"bytes of JSON are above the limit of 65,536"):
        store.beat(msgspec.structs.replace(WORKER, queues=queues)).result()
    assert store.workers().result() == []


def test_what_ten_thousand_jobs_wait_for_keeps_no_heartbeat_back(store: Store) -> None:
    waits = {f"job-{number}": "room in queue 'mail' (9/9)" for number in range(10_000)}
    sick = {"process": "x" * 100_000}
    crowded = msgspec.structs.replace(WORKER, waits=waits, unsupported={"t": 3}, sick=sick)
    assert store.beat(crowded).result() == "work"
    [known] = store.workers().result()
    assert 0 < len(known.waits) < 10_000
    assert waits.items() >= known.waits.items()
    assert (known.unsupported, known.queues) == ({"t": 3}, ("q",))
    assert known.sick["process"].endswith("(cut, 100,000 characters)")
    few = msgspec.structs.replace(WORKER, waits=dict(list(waits.items())[:500]))
    store.beat(few).result()
    assert store.workers().result()[0].waits == few.waits
