"""What a worker does with a verdict on a held job: release it, or stop its code for a reason."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from test_held_jobs import in_phase, job, running

from conveyor.core.lifecycle import Interrupted
from conveyor.runners.job_control import StopRequest
from conveyor.store.messages import Lease, Renewal
from conveyor.worker.cancellation import FENCED, LOST, LeaseVerdicts
from conveyor.worker.held_jobs import HeldJobs, Phase

LEASE = Lease("a", 1)
CANCEL = Renewal("a", "cancel", reason="enough")
FORCED = Renewal("a", "cancel", reason="now", forced=True)
GONE = Renewal("a", "lost")


def requested(*verdicts: Renewal, once: bool = False) -> StopRequest | None:
    """Return the stop request of a running job after these verdicts."""

    async def main() -> StopRequest | None:
        held = HeldJobs()
        row = running(held, job())
        assert row.control is not None
        known = LeaseVerdicts(held, fence_grace=2.0)
        for verdict in verdicts:
            (known.apply_once if once else known.apply)(LEASE, verdict)
        return row.control.stop_request

    return asyncio.run(main())


@pytest.mark.parametrize("once", [False, True])
def test_a_running_job_is_stopped_for_the_reason_of_the_verdict(once: bool) -> None:
    assert requested(CANCEL, once=once) == StopRequest("cancel", "enough", None)
    assert requested(FORCED, once=once) == StopRequest("cancel", "now", 0.0)
    assert requested(GONE, once=once) == StopRequest("lost", LOST)


def test_a_forced_cancel_shortens_the_grace_of_the_first_and_a_lost_lease_overrides_it() -> None:
    for once in (False, True):
        assert requested(CANCEL, FORCED, once=once) == StopRequest("cancel", "enough", 0.0)
        lost = requested(CANCEL, GONE, once=once)
        assert lost is not None
        assert lost.cause == "lost"


def test_a_verdict_that_is_known_changes_nothing() -> None:
    once: dict[str, Any] = {"once": True}
    assert requested(CANCEL, Renewal("a", "cancel", reason="again"), **once) == requested(CANCEL)
    assert requested(GONE, CANCEL, **once) == StopRequest("lost", LOST)
    assert requested(FORCED, FORCED, **once) == requested(FORCED)


@pytest.mark.parametrize("phase", ["ready", "unconfirmed", "ended", "gone"])
def test_a_job_that_does_not_run_is_released_if_it_is_ready_and_otherwise_left(
    phase: Phase,
) -> None:
    held = HeldJobs()
    row = in_phase(held, phase)
    before = held.reports
    LeaseVerdicts(held, fence_grace=2.0).apply(LEASE, CANCEL)
    LeaseVerdicts(held, fence_grace=2.0).apply_once(LEASE, CANCEL)
    if phase == "ready":
        assert row.phase == "ended"
        assert [report.outcome for report in held.reports] == [Interrupted()]
    else:
        assert (row.phase, held.reports) == (phase, before)


def test_a_fenced_job_has_its_own_grace() -> None:
    async def main() -> None:
        held = HeldJobs()
        row = running(held, job())
        LeaseVerdicts(held, fence_grace=2.0).fence(row)
        assert row.fenced
        assert row.control is not None
        assert row.control.stop_request == StopRequest("fenced", FENCED, 2.0)

    asyncio.run(main())
