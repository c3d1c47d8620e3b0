"""How many reports a worker sends at once: fewer after the store has refused them.

A store refuses a whole call because of one report that it cannot take, or because all of them are
too large together. Neither may end the worker, or cost another job its outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from ..core.event_log import open_event_log
from ..errors import ConveyorError
from ..store.messages import Report
from ..store.protocol import Store
from .held_jobs import INTERRUPTED, HeldJobs

log = open_event_log("reports")

MOST = 10_000
# How long, in seconds, a worker that the store refuses tries to return its jobs.
RETURN_TIMEOUT = 5.0


class ReportBatch:
    """The oldest reports of a worker."""

    def __init__(self, held: HeldJobs) -> None:
        self._held = held
        self._most = MOST

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


async def return_undelivered(store: Store, held: HeldJobs) -> None:
    """Return the jobs whose outcomes the store refuses: of a former token it accepts that."""
    reports = held.reports
    returned = [Report(each.id, each.lease, INTERRUPTED) for each in reports]
    with suppress(ConveyorError, TimeoutError):  # then their leases end
        async with asyncio.timeout(RETURN_TIMEOUT):
            await store.settle(returned)
        held.remove_reported(reports)
