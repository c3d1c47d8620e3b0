"""Valid bodies and queries of the calls about many jobs, by their type."""

from __future__ import annotations

from typing import Any

from conveyor.store.http import inspection_payloads

JOB_FILTER = {"queue": "q", "task": "t", "states": ["running"], "worker": "w", "error": "e"}
INSPECTION: dict[type[Any], list[dict[str, Any]]] = {
    inspection_payloads.MatchBody: [{"filter": JOB_FILTER, "action": "retry"}],
    inspection_payloads.ActBody: [
        {
            "filter": JOB_FILTER,
            "upto": 5,
            "action": "cancel",
            "reason": "r",
            "force": True,
            "before": 3,
            "limit": 10,
        }
    ],
    inspection_payloads.CapacityBody: [{"capacity": 5, "reason": "r"}, {"capacity": None}],
    inspection_payloads.CopyBody: [
        {"args": {"a": 1}, "queue": "q", "priority": 1, "run_at": 5.5},
        {"delay": 1.5},
    ],
    inspection_payloads.ArgsQuery: [{"whole": "true"}],
    inspection_payloads.SearchQuery: [{"text": "t", "after": 5, "limit": 10}],
    inspection_payloads.SuggestQuery: [{"kind": "task", "text": "t", "queue": "q", "limit": 5}],
    inspection_payloads.ScaledQuery: [{"name": "s"}],
}
