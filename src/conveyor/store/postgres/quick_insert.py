"""Enqueueing in one round trip, where little has to be decided: there is room, no keys or files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core import lifecycle
from ...core.capacity import is_rendezvous
from ...core.job import NewJob, Options, State
from ..hint_rules import queue_hint
from ..messages import Accepted, Hint
from ..sql.rows import checksum, encode_options
from ..sql.transaction import Lanes
from .connection import Connection


def is_plain(jobs: Sequence[NewJob], capacity: int | None, *, again: bool) -> bool:
    """Whether these jobs can be inserted without looking at any other job."""
    if again or not jobs or is_rendezvous(capacity):
        return False
    return all(
        each.options.key is None and not each.options.files and not each.callbacks for each in jobs
    )


def plan_insert(
    jobs: Sequence[NewJob], capacity: int | None, lanes: Lanes, now: float
) -> dict[str, Any] | None:
    """Return the parameters of the insert; None if a lane is not known yet."""
    rows: list[tuple[Any, ...]] = []
    queue = jobs[0].queue
    # Jobs that are enqueued together often share these.
    shared: Options | None = None
    lane, encoded = None, b""
    for new in jobs:
        options = new.options
        if options is not shared:
            shared = options
            lane = lanes.ids.get((queue, options.requires))
            if lane is None:
                return None
            encoded = encode_options(options)
        state, run_at = lifecycle.first_state(new, now)
        total = checksum(new.id, new.task, new.args, encoded)
        known = new.id, lane, new.task, new.args, encoded
        rows.append((*known, total, state, new.priority, run_at, options.expires_at))
    given: dict[str, Any]
    if len(rows) == 1 and capacity is None:
        given = dict(zip(_COLUMNS, rows[0], strict=True))
    else:
        given = dict(zip(_ARRAYS, zip(*rows, strict=True), strict=True))
    scheduled = sum(row[_STATE] is State.SCHEDULED for row in rows)
    given["name"], given["capacity"], given["now"] = queue, capacity, now
    given["scheduled"], given["available"] = scheduled, len(rows) - scheduled
    return given


def insert(connection: Connection, planned: dict[str, Any]) -> bool:
    """Insert what was planned; False if the queue has another bound, no room or no row."""
    if planned["capacity"] is not None:
        lock = "lock_queue", ([planned["name"]],)
        return bool(connection.transact(lock, ("insert_bounded", planned)))
    statement = "insert_one_unbounded" if "id" in planned else "insert_unbounded"
    return bool(connection.query(statement, planned))


def answer(jobs: Sequence[NewJob]) -> Accepted:
    """Return the answer for jobs that were inserted."""
    return Accepted(tuple(new.id for new in jobs))


def hints(planned: dict[str, Any]) -> list[Hint]:
    """Return what to tell others about the jobs that were inserted."""
    states = [each for each in (State.AVAILABLE, State.SCHEDULED) if planned[each]]
    return [Hint(queue_hint(state), (planned["name"],)) for state in states]


_COLUMNS = (
    *("id", "lane", "task", "args", "options", "checksum", "state", "priority", "run_at"),
    "expires_at",
)
_ARRAYS = tuple(f"{name}_all" for name in _COLUMNS)
_STATE = _COLUMNS.index("state")
