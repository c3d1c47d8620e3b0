"""The part of the store protocol for schedules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..core.job import NewJob, ScheduleInfo
from ..core.page import LISTED, Page
from ..core.pending import Pending


class ScheduleStore(Protocol):
    """Applications declare schedules, workers tick them, and operators pause, run or remove them.

    `reason` is that of `OperatorStore.retry`, and shown while a schedule is paused.
    """

    def put_schedule(self, schedule: ScheduleInfo) -> Pending[ScheduleInfo]:
        """Add a schedule or change its rule; an unchanged rule keeps its ticks and its pause.

        Returns it as it now stands in the store.
        """
        ...

    def schedules(self, *, after: str = "", limit: int = LISTED) -> Pending[Page[ScheduleInfo]]:
        """Return the schedules, by name: at most `limit` after a name."""
        ...

    def pause_schedule(
        self, name: str, *, paused: bool, reason: str = "", by: str = ""
    ) -> Pending[None]:
        """Stop or resume a schedule. `by` is who pauses it."""
        ...

    def remove_schedule(self, name: str, *, reason: str = "") -> Pending[None]:
        """Delete a schedule; an application that declares it adds it again when it starts."""
        ...

    def tick(
        self, name: str, *, due_at: float, next_at: float, jobs: Sequence[NewJob]
    ) -> Pending[bool]:
        """Enqueue the jobs of a tick and advance the schedule, if its `next_at` still is `due_at`.

        Returns False if another process was first. The queue's bound does not apply: a tick has no
        producer that could wait.
        """
        ...

    def run_schedule(self, name: str, *, reason: str = "") -> Pending[None]:
        """Make a schedule due now. A program that declares it enqueues the jobs of this tick.

        InvalidTransitionError if it is paused. Its later ticks stay where they are.
        """
        ...

    def recent_jobs(self, name: str) -> Pending[list[str]]:
        """Return the ids of the jobs of a schedule's last ticks, the newest first: at most 20."""
        ...
