"""A job for the tests of pure rules: running, in its first attempt, unless told otherwise."""

from __future__ import annotations

from typing import Any

from conveyor.core.job import JobRecord, Options, State


def job(**given: Any) -> JobRecord:
    options = {name: given.pop(name) for name in list(given) if name in Options.__struct_fields__}
    fields = {
        "seq": 1, "id": "job-1", "task": "t", "queue": "q", "args": b"{}", "state": State.RUNNING,
        "priority": 0, "run_at": 100.0, "enqueued_at": 100.0, "attempt": 1, "lease": 1,
    }  # fmt: skip
    return JobRecord(**(fields | given), options=Options(**options))  # type: ignore[arg-type]
