"""The methods of the HTTP store about what happened, and how a system is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from ...core.history import QueueHistory
from ...core.marks import Mark, checked_mark_text
from ...core.overview import Overview
from ...core.page import Page
from ...core.pending import Pending
from . import list_queries, payloads
from .history_payloads import AddMarkBody, OverviewQuery, QueueHistoryQuery


class HttpHistory(ABC):
    """A part of the HTTP store."""

    @abstractmethod
    def _call(
        self,
        name: str,
        path: Mapping[str, str] | None = None,
        body: payloads.Payload | None = None,
    ) -> Pending[Any]:
        """Make a call of the HTTP API."""

    def queue_history(
        self,
        queue: str | None = None,
        *,
        since: float | None = None,
        until: float | None = None,
        step: float = 60.0,
    ) -> Pending[QueueHistory]:
        """Return what happened, in steps."""
        query = QueueHistoryQuery(queue=queue, since=since, until=until, step=step)
        return self._call("queue_history", body=query)

    def add_mark(self, text: str, *, who: str) -> Pending[Mark]:
        """Add a note; a server that knows who asks notes that instead."""
        return self._call("add_mark", body=AddMarkBody(text=checked_mark_text(text), who=who))

    def marks(self, *, before: int | None = None, limit: int) -> Pending[Page[Mark]]:
        """Return one page of the marks, newest first."""
        return self._call("marks", body=list_queries.BeforeQuery(before=before, limit=limit))

    def overview(self, *, minutes: int = 60, queues: int = 50) -> Pending[Overview]:
        """Return the system at a glance."""
        return self._call("overview", body=OverviewQuery(minutes=minutes, queues=queues))
