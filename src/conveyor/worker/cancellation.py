"""Asks running jobs to stop: on request, on timeout, or because their lease is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ..core.task import Kind
from ..errors import UnavailableError
from ..runners.job_control import JobControl, StopRequest
from ..store.messages import Lease, Renewal
from .held_jobs import HeldJob, HeldJobs

# A job that cannot be killed and still runs this many seconds after the request gets a note.
NOTE_AFTER = 1.0
STILL_RUNNING: dict[Kind, str] = {
    "thread": "a thread cannot be stopped from outside; its code must check "
    "current_job().cancelled, or call sleep, track or check of current_job()",
    "coroutine": "the coroutine ignored CancelledError",
}
FORCED: dict[Kind, str] = {
    "thread": "force requested: a thread cannot be killed; it ends when its code checks, or with "
    "its worker",
    "coroutine": "force requested: CancelledError raised again",
}
LOST = "the lease was lost"
FENCED = "its lease could not be renewed in time"


def check_count(renewals: Sequence[Renewal], leases: int) -> None:
    """Raise UnavailableError unless a store has answered about each lease."""
    if len(renewals) != leases:
        raise UnavailableError(f"the store answered about {len(renewals)} of {leases} leases")


class LeaseVerdicts:
    """Applies the store's verdicts on held jobs, and stops jobs whose lease expires.

    A fenced job gets `fence_grace` seconds to stop.
    """

    def __init__(self, held: HeldJobs, *, fence_grace: float) -> None:
        self._held = held
        self._fence_grace = fence_grace

    def apply(self, lease: Lease, renewal: Renewal) -> None:
        """Stop the job of a rejected renewal, or release it if it has not started."""
        row = self._held.get(lease)
        if row is None:
            return
        if row.phase == "ready":
            self._held.release(row)
        elif row.phase == "running" and row.control is not None:
            if renewal.verdict == "cancel":
                grace = 0.0 if renewal.forced else None
                request_stop(row.control, StopRequest("cancel", renewal.reason, grace))
            elif not row.control.completing:  # else LeaseRenewer looks which it is
                request_stop(row.control, StopRequest("lost", LOST))

    def apply_once(self, lease: Lease, renewal: Renewal) -> None:
        """Apply a verdict that came with the answer to another call, unless it is already known."""
        row = self._held.get(lease)
        if row is None or row.phase != "running" or row.control is None:
            return
        request = row.control.stop_request
        is_news = request is None or (renewal.forced and request.grace != 0.0)
        if is_news or (renewal.verdict == "lost" and not row.control.abandoned):
            self.apply(lease, renewal)

    def fence(self, row: HeldJob) -> None:
        """Stop a job whose lease could not be renewed: another worker may soon claim it."""
        if row.phase == "ready":
            self._held.release(row)
        elif row.phase == "running" and row.control is not None:
            row.fenced = True
            request_stop(row.control, StopRequest("fenced", FENCED, self._fence_grace))


def request_stop(control: JobControl, request: StopRequest) -> None:
    """Request that a job stop, and note that on the job. Must be called in the event loop."""
    kind = control.task.kind
    if not control.stopping:
        control.note(f"stop requested ({request.cause}): {request.reason}")
        if kind in STILL_RUNNING:
            asyncio.get_running_loop().call_later(NOTE_AFTER, _note_if_running, control)
    elif request.cause == "cancel" and request.grace == 0.0:
        control.note(FORCED.get(kind, "force requested: no grace period"))
    control.stop(request)


def start_timeout(control: JobControl, timeout: float) -> Callable[[], None]:
    """Stop a job that runs longer than `timeout` seconds; returns what cancels the timeout."""
    request = StopRequest("timeout", f"it ran longer than its timeout of {timeout:g} s")
    loop = asyncio.get_running_loop()
    timer = loop.call_later(timeout, request_stop, control, request)

    def restart() -> None:  # its process had to start and to import its code first
        nonlocal timer
        timer.cancel()
        timer = loop.call_later(timeout, request_stop, control, request)

    control.on_begin = restart
    return lambda: timer.cancel()  # noqa: PLW0108 - `restart` may replace the timer


def _note_if_running(control: JobControl) -> None:
    if not control.ended:
        control.note(STILL_RUNNING[control.task.kind])
