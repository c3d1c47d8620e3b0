"""Which reports a worker sends, and when: with the next claim, and fewer after a refusal.

A store refuses a whole call because of one report that it cannot take, or because all of them are
too large together. Neither may end the worker, or cost another job its outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from ..core.event_log import open_event_log
from ..errors import ConveyorError
from ..store.messages import Exchanged, Report
from ..store.protocol import Store
from .held_jobs import INTERRUPTED, HeldJobs

log = open_event_log("reports")

MOST = 10_000
# How long, in seconds, a worker that the store refuses tries to return its jobs.
RETURN_TIMEOUT = 5.0
# How long reports wait at most for the next claim, in seconds.
REPORT_WITHIN = 0.02


def are_reports_due(*, unreported: int, ready: int, since: float) -> bool:
    """Whether reports are to be sent now, `since` seconds after the last ones.

    While jobs are `ready`, reports wait for the next claim, for a transaction costs as much as many
    jobs.
    """
    return bool(unreported) and (not ready or since >= REPORT_WITHIN)


class ReportBatch:
    """The oldest reports of a worker."""

    def __init__(self, held: HeldJobs) -> None:
        self._held = held
        self._most = MOST
        self._sent_at = 0.0

    def is_due(self, now: float, *, draining: bool) -> bool:
        """Whether there are reports that should not wait for a claim any longer."""
        held, since = self._held, now - self._sent_at
        ready = 0 if draining else held.ready
        return are_reports_due(unreported=held.unreported, ready=ready, since=since)

    def within(self, wait: float) -> float:
        """Return how long to wait for something to do, instead of `wait`."""
        return min(wait, REPORT_WITHIN) if self._held.unreported else wait

    def note_settled(self, reports: Sequence[Report], settled: Collection[str]) -> None:
        """Note which of these reports the store has taken; the others came too late."""
        self._held.remove_reported(reports)
        if len(settled) != len(reports):
            known = set(settled)
            for report in reports:
                if report.id not in known:
                    log.warning("report.stale id=%s lease=%d", report.id, report.lease)

    def note_sent(self, now: float) -> None:
        """Note that a call with reports has ended, however it did."""
        self._sent_at = now

    def next(self) -> list[Report]:
        """Return what to send now."""
        return self._held.reports[: self._most]

    def note_success(self) -> None:
        """Note that the store took a call."""
        if self._most < MOST:
            self._most *= 2

    def note_refusal(self, reports: Sequence[Report], error: ConveyorError) -> None:
        """Note that the store refused a call with these reports: send fewer, until it is one.

        Of that one only the refusal is reported; if that is refused, too, its lease ends.
        """
        log.error("report.refused reports=%d error=%s", len(reports), error)
        if len(reports) > 1:
            self._most = len(reports) // 2
        elif reports:
            self._held.refuse_oldest(str(error))


async def return_undelivered(
    store: Store, held: HeldJobs, on_settled: Callable[[Sequence[Report], Exchanged], None]
) -> None:
    """Return the jobs whose outcomes the store refuses: of a former token it accepts that."""
    reports = held.reports
    returned = [Report(each.id, each.lease, INTERRUPTED) for each in reports]
    with suppress(ConveyorError, TimeoutError):  # then their leases end
        async with asyncio.timeout(RETURN_TIMEOUT):
            answer = await store.settle(returned)
        on_settled(returned, answer)
        held.remove_reported(reports)
