"""The calls of the HTTP API about what happened, and how a system is: see protocol_history.py."""

from __future__ import annotations

from ...core.history import QueueHistory
from ...core.marks import Mark
from ...core.overview import Overview
from . import list_queries
from .api_call import ADMIN_ONLY, READ, ApiCall
from .history_payloads import AddMarkBody, OverviewQuery, QueueHistoryQuery

HISTORY_CALLS = (
    ApiCall(
        name="queue_history", method="GET", path="/history", scopes=READ,
        summary="Show what happened in a queue, or in all, in steps of time",
        request=QueueHistoryQuery, response=QueueHistory, idempotent=True,
        problems=("not_found",),
    ),
    ApiCall(
        name="overview", method="GET", path="/overview", scopes=READ,
        summary="Show the system at a glance: problems, queues, workers and history",
        request=OverviewQuery, response=Overview, idempotent=True,
    ),
    ApiCall(
        name="marks", method="GET", path="/marks", scopes=READ,
        summary="List the marks in the history, newest first", request=list_queries.BeforeQuery,
        response=list[Mark], idempotent=True, cursor="seq",
    ),
    ApiCall(
        name="add_mark", method="POST", path="/marks", scopes=ADMIN_ONLY,
        summary="Add a note to the history", request=AddMarkBody, response=Mark,
        audit_name="mark",
    ),
)  # fmt: skip
