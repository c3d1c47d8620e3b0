"""The checks of the drill: the same facts, and the same with one difference each."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from conveyor.core.job import AttemptError, ErrorInfo, JobRecord, State
from conveyor.drill import checks
from conveyor.drill.observations import Observation, ObservedJob, ObservedWorker
from conveyor.drill.probe_jobs import ProbeEvent

NOW = 1_000.0
KILLED = ErrorInfo("WorkerLost", "it was killed by SIGKILL, it was seen to use 40 MiB")


def record_of(**changes: Any) -> JobRecord:
    record = JobRecord(
        seq=1, id="j", task="t", queue="q", args=b"{}", state=State.COMPLETED, priority=0,
        run_at=NOW, enqueued_at=NOW, attempt=1, lease=2, crashes=1, result=b"2", final_at=NOW + 1,
    )  # fmt: skip
    return msgspec.structs.replace(record, **changes)


def observed(record: JobRecord | None = None, **changes: Any) -> ObservedJob:
    """A job that was killed at NOW, was back after 0.2 s and run again after 0.3 s."""
    seen = ObservedJob(
        kind="thread",
        record=record or record_of(),
        observations=(
            Observation(NOW - 1, State.RUNNING, 1),
            Observation(NOW + 0.2, State.AVAILABLE, 1),
            Observation(NOW + 0.3, State.RUNNING, 2),
            Observation(NOW + 1, State.COMPLETED, 2),
        ),
        events=(
            ProbeEvent("began", 10, 1, NOW - 1),
            ProbeEvent("began", 11, 2, NOW + 0.3),
            ProbeEvent("ended", 11, 2, NOW + 1),
        ),
        ended_at={1: NOW + 0.1, 2: NOW + 1},
        history=(
            AttemptError(attempt=1, at=NOW, worker="w", became=State.AVAILABLE, error=KILLED),
        ),
    )
    return msgspec.structs.replace(seen, **changes)


def all_checks(seen: ObservedJob) -> dict[str, checks.Check]:
    return {
        "back": checks.returned(seen, NOW, 1.0),
        "again": checks.ran_again(seen, 0.0),
        "result": checks.single_result(seen),
        "attempt": checks.attempt_not_counted(seen, crashes=1),
        "evidence": checks.crash_recorded(seen),
        "gone": checks.processes_gone(seen, NOW),
        "code": checks.code_had_ended(seen),
        "fenced": checks.late_run_stopped(seen, NOW),
    }


def test_a_job_that_fared_as_promised_keeps_every_promise() -> None:
    assert {name: check.kept for name, check in all_checks(observed()).items()} == dict.fromkeys(
        all_checks(observed()), True
    )


SLOW = tuple(
    Observation(each.at + 5, each.state, each.lease, each.live) if each.lease != 1 or each.at > NOW
    else each
    for each in observed().observations
)  # fmt: skip
LIVE = (
    Observation(NOW - 1, State.RUNNING, 1),
    Observation(NOW + 0.2, State.RUNNING, 2, live=(10,)),
)


@pytest.mark.parametrize(
    ("seen", "broken"),
    [
        (observed(observations=SLOW), {"back"}),
        (observed(observations=observed().observations[:1], events=()), {"back", "again"}),
        (observed(events=observed().events[:1]), {"again"}),
        (observed(record_of(result=b"1")), {"result"}),
        (observed(record_of(lease=3)), {"result"}),
        (observed(record_of(attempt=2)), {"attempt"}),
        (observed(record_of(crashes=0), history=()), {"attempt", "evidence"}),
        (observed(history=()), {"evidence"}),
        (observed(ended_at={}), {"gone", "fenced"}),
        (observed(ended_at={1: NOW + 1.5}), {"gone"}),
        (observed(observations=LIVE), {"code"}),
    ],
    ids=lambda given: "-".join(sorted(given)) if isinstance(given, set) else "seen",
)
def test_a_fact_that_differs_breaks_the_promise_it_is_about(
    seen: ObservedJob, broken: set[str]
) -> None:
    assert {name for name, check in all_checks(seen).items() if not check.kept} == broken


def test_a_worker_is_judged_by_its_code_its_time_and_what_it_leaves() -> None:
    left = ObservedWorker(name="first", id="w", ended_at=NOW + 2, code=75)
    stayed = ObservedWorker(name="first", id="w", ended_at=None, code=None, leftover=("7: sleep",))
    for worker, kept in ((left, True), (stayed, False)):
        assert checks.exited_with(worker, 75).kept is kept
        assert checks.exited_within(worker, NOW, 3.0).kept is kept
        assert checks.no_process_left(worker).kept is kept
    assert not checks.exited_with(left, 0).kept
    assert not checks.exited_within(left, NOW, 1.0).kept


def test_a_timeline_is_in_order_and_relative_to_the_fault() -> None:
    told = checks.timeline(observed(), NOW)
    assert told[0].startswith("-1.00 s") or told[0].strip().startswith("-1.00 s")
    assert [line for line in told if "SIGKILL" in line]
    assert "run 2 ended in process 11" in told[-1] or "seen completed" in told[-1]
