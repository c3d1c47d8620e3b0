"""What the drill makes of what it has seen: the same facts, told a little differently."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from conveyor.core.job import AttemptError, ErrorInfo, JobRecord, State
from conveyor.drill import verdict
from conveyor.drill.observations import Account, Sighting, WorkerSeen
from conveyor.drill.probe_jobs import Note

NOW = 1_000.0
KILLED = ErrorInfo("WorkerLost", "it was killed by SIGKILL, it was seen to use 40 MiB")


def job(**changes: Any) -> JobRecord:
    record = JobRecord(
        seq=1, id="j", task="t", queue="q", args=b"{}", state=State.COMPLETED, priority=0,
        run_at=NOW, enqueued_at=NOW, attempt=1, lease=2, crashes=1, result=b"2", final_at=NOW + 1,
    )  # fmt: skip
    return msgspec.structs.replace(record, **changes)


def account(record: JobRecord | None = None, **changes: Any) -> Account:
    """A job that was killed at NOW, was back after 0.2 s and run again after 0.3 s."""
    seen = Account(
        kind="thread",
        record=record or job(),
        sightings=(
            Sighting(NOW - 1, State.RUNNING, 1),
            Sighting(NOW + 0.2, State.AVAILABLE, 1),
            Sighting(NOW + 0.3, State.RUNNING, 2),
            Sighting(NOW + 1, State.COMPLETED, 2),
        ),
        notes=(
            Note("began", 10, 1, NOW - 1),
            Note("began", 11, 2, NOW + 0.3),
            Note("ended", 11, 2, NOW + 1),
        ),
        gone={1: NOW + 0.1, 2: NOW + 1},
        history=(
            AttemptError(attempt=1, at=NOW, worker="w", became=State.AVAILABLE, error=KILLED),
        ),
    )
    return msgspec.structs.replace(seen, **changes)


def checks(seen: Account) -> dict[str, verdict.Check]:
    return {
        "back": verdict.back(seen, NOW, 1.0),
        "again": verdict.again(seen, 0.0),
        "result": verdict.one_result(seen),
        "attempt": verdict.uncounted(seen, crashes=1),
        "evidence": verdict.evidence(seen),
        "gone": verdict.processes_gone(seen, NOW),
        "code": verdict.code_ended(seen),
        "fenced": verdict.fenced(seen, NOW),
    }


def test_a_job_that_fared_as_promised_keeps_every_promise() -> None:
    assert {name: check.kept for name, check in checks(account()).items()} == dict.fromkeys(
        checks(account()), True
    )


SLOW = tuple(
    Sighting(each.at + 5, each.state, each.lease, each.live) if each.lease != 1 or each.at > NOW
    else each
    for each in account().sightings
)  # fmt: skip
LIVE = (Sighting(NOW - 1, State.RUNNING, 1), Sighting(NOW + 0.2, State.RUNNING, 2, live=(10,)))


@pytest.mark.parametrize(
    ("seen", "broken"),
    [
        (account(sightings=SLOW), {"back"}),
        (account(sightings=account().sightings[:1], notes=()), {"back", "again"}),
        (account(notes=account().notes[:1]), {"again"}),
        (account(job(result=b"1")), {"result"}),
        (account(job(lease=3)), {"result"}),
        (account(job(attempt=2)), {"attempt"}),
        (account(job(crashes=0), history=()), {"attempt", "evidence"}),
        (account(history=()), {"evidence"}),
        (account(gone={}), {"gone", "fenced"}),
        (account(gone={1: NOW + 1.5}), {"gone"}),
        (account(sightings=LIVE), {"code"}),
    ],
    ids=lambda given: "-".join(sorted(given)) if isinstance(given, set) else "seen",
)
def test_a_fact_that_differs_breaks_the_promise_it_is_about(
    seen: Account, broken: set[str]
) -> None:
    assert {name for name, check in checks(seen).items() if not check.kept} == broken


def test_a_worker_is_judged_by_its_code_its_time_and_what_it_leaves() -> None:
    left = WorkerSeen(name="first", id="w", ended_at=NOW + 2, code=75)
    stayed = WorkerSeen(name="first", id="w", ended_at=None, code=None, left_behind=("7: sleep",))
    for worker, kept in ((left, True), (stayed, False)):
        assert verdict.left_with(worker, 75).kept is kept
        assert verdict.out_within(worker, NOW, 3.0).kept is kept
        assert verdict.nothing_left(worker).kept is kept
    assert not verdict.left_with(left, 0).kept
    assert not verdict.out_within(left, NOW, 1.0).kept


def test_a_story_is_told_in_order_and_counts_from_the_deed() -> None:
    told = verdict.story(account(), NOW)
    assert told[0].startswith("-1.00 s") or told[0].strip().startswith("-1.00 s")
    assert [line for line in told if "SIGKILL" in line]
    assert "run 2 ended in process 11" in told[-1] or "seen completed" in told[-1]
