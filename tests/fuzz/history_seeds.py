"""Valid requests and responses of the calls about the history, and of the system at a glance."""

from __future__ import annotations

from typing import Any

from conveyor.store.http import history_payloads, list_queries

HISTORY_REQUESTS: dict[type[Any], list[dict[str, Any]]] = {
    history_payloads.QueueHistoryQuery: [{"queue": "q", "since": 60.5, "until": 120, "step": 60}],
    history_payloads.OverviewQuery: [{"minutes": 60, "queues": 50}],
    history_payloads.AddMarkBody: [{"text": "t", "who": "w"}],
    list_queries.BeforeQuery: [{"before": 5, "limit": 10}],
}
SPREAD = {"count": 1, "p50": 0.5, "p95": 1.5}
POINT = {"at": 60.0, "enqueued": 1, "completed": 1, "waiting": SPREAD, "running": SPREAD}
SPAN = {"since": 60.0, "until": 120.0, "step": 60.0}
MARK = {"seq": 1, "at": 1.0, "kind": "release", "text": "v1", "who": "w", "queues": ["q"]}
QUEUE = {
    "name": "q", "level": "warn", "says": "late", "capacity": 5, "paused": False,
    "counts": {"running": 1}, "depth": 1, "offers": 0, "oldest_at": 1.0, "usual_wait": 0.5,
    "waiting_p95": 1.5, "enqueued_rate": 0.5, "failed_share": 0.1, "spark": [0, 1],
}  # fmt: skip
RUNNING = {
    "id": "j", "task": "t", "queue": "q", "worker": "w", "attempt": 1, "started_at": 1.0,
    "progress": {"done": 1, "total": 2, "message": "m"},
}  # fmt: skip
PROBLEM = {
    "key": "k", "level": "warn", "subject": {"kind": "queue", "name": "q"}, "claim": "is late.",
    "tag": "late", "because": [{"text": "c"}],
}  # fmt: skip
FACTS = {"at": 1.0, "every": 5.0, "held": ["a"], "blind": {"p": "why"}}
OVERVIEW = {
    "at": 120.0, "minutes": 60, "health": {"bad": 0, "warn": 1},
    "verdict": {"level": "warn", "claim": "c", "note": "n"},
    "problems": [PROBLEM], "waiting": 1, "later": 0, "running": 1, "slots": 4, "workers": 1,
    "hosts": 1, "jobs": 2, "oldest_at": None, "enqueued_rate": 0.5, "started_rate": 0.5,
    "completed_rate": 0.5, "failed_share": None, "failed_usual": 0.1, "queues_total": 1,
    "queues": [QUEUE], "longest": [RUNNING], "marks": [MARK],
    "history": {**SPAN, "points": [{**POINT, "worst_p95": 1.5}]}, "scaler": FACTS,
}  # fmt: skip
# Responses, by the name of the call.
HISTORY: dict[str, list[Any]] = {
    "queue_history": [{"queue": "q", **SPAN, "points": [POINT]}],
    "overview": [OVERVIEW],
    "marks": [[MARK]],
    "add_mark": [MARK],
}
