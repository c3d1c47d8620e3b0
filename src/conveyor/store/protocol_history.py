"""The part of the store protocol that shows how a system is, and what happened in it."""

from __future__ import annotations

from typing import Protocol

from ..core.history import QueueHistory
from ..core.marks import Mark
from ..core.overview import Overview
from ..core.page import Page
from ..core.pending import Pending

# How many points a history has at most.
MOST_POINTS = 1500
# What an overview can show: how many minutes, and how many queues.
LEAST_MINUTES, MOST_MINUTES_SHOWN, MOST_QUEUES_SHOWN = 5, 1440, 1000


class HistoryStore(Protocol):
    """For operators. What happened is written in the transaction in which it happened."""

    def queue_history(
        self,
        queue: str | None = None,
        *,
        since: float | None = None,
        until: float | None = None,
        step: float = 60.0,
    ) -> Pending[QueueHistory]:
        """Return what happened in a queue, or in all, in steps of so many seconds.

        It begins with the step in which `since` is (default: an hour before `until`) and ends with
        that of `until` (default: now). The past is kept for 7 days, and at most 500,000 minutes of
        all queues. NotFoundError for a queue that was never used; UsageError for a step that is not
        a multiple of 60, or that makes more than 1,500 points.
        """
        ...

    def add_mark(self, text: str, *, who: str) -> Pending[Mark]:
        """Add a note to the history: one line of 1 to 200 characters. Returns it as stored."""
        ...

    def marks(self, *, before: int | None = None, limit: int) -> Pending[Page[Mark]]:
        """Return at most `limit` marks whose `seq` is less than `before`, newest first.

        They are kept for 90 days, and the newest 1,000.
        """
        ...

    def overview(self, *, minutes: int = 60, queues: int = 50) -> Pending[Overview]:
        """Return the system at a glance, with the history of some minutes (5 to 1,440).

        It is computed once a second at most, for all who ask this store object, and more rarely if
        that takes longer than a twentieth of a second. `queues` limits how many queues are listed,
        at most 1,000.
        """
        ...
