"""A valid body for each call that has one, by the rows of the matrix of rights."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from raw_http import WORKER

EMPTY = sha256(b"").hexdigest()
MINE = {"queue": "mine"}
WANTS = [{"queue": "mine", "limit": 1}]
SCHEDULE = {"name": "s", "cron": "* * * * *", "timezone": "UTC", "missed": "skip", "next_at": 1}
FILE = {"name": "f", "digest": EMPTY, "size": 0, "kind": "artifact"}
TOKEN = {"id": "abcdefgh", "name": "n", "digest": "", "scopes": ["read"], "created_at": 1}


def body_of(row: str, worker: str, lease: int) -> Any:
    held = {"id": "running", "lease": lease}
    report = {**held, "outcome": {"type": "succeeded"}}
    chunk = {"job_id": "running", "lease": lease, "offset": 0, "stream": "stdout", "at": 1}
    bodies: dict[str, Any] = {
        "insert": {"jobs": [{"task": "t"}], "when_full": "refuse"},
        "claim": {"wants": WANTS},
        "exchange": {"wants": WANTS, "reports": [report]},
        "settle": {"reports": [report]},
        "extend": {"leases": [held]},
        "write_output": {"chunks": [{**chunk, "data": ""}]},
        "set_progress": {"reports": [[held, {"done": 1}]]},
        "set_stopping": {"reports": [[held, []]]},
        "set_paused": {"paused": True},
        "rescue": {"dead": [worker]},
        "prune": {"retention": {}},
        "beat": {"info": {"id": worker, **WORKER}},
        "order": {"order": "quiet"},
        "put_tasks": {"tasks": []},
        "put_schedule": {"schedule": SCHEDULE},
        "pause_schedule": {"paused": True},
        "tick": {"due_at": 1, "next_at": 2, "jobs": []},
        "attach": {"lease": lease, "file": FILE},
        "lead": {"holder": "h", "hold": 1},
        "add_token": {"token": TOKEN},
        "note_action": {"actions": []},
        "add_mark": {"text": "deployed"},
        "match": {"filter": {}},
        "match_in_queue": {"filter": MINE},
        "act": {"filter": MINE, "upto": 9, "action": "cancel"},
        "act_on_all": {"filter": {}, "upto": 9, "action": "cancel"},
        "act_retrying": {"filter": MINE, "upto": 9, "action": "retry"},
        "act_deleting": {"filter": MINE, "upto": 9, "action": "delete"},
        "set_capacity": {"capacity": 3},
        "copy_elsewhere": {"queue": "elsewhere"},
    }
    return bodies.get(row, {})
