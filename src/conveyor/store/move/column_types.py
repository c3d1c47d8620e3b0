"""Which values the columns have that are moved: what another database could not hold is found."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from ...core import queue_totals
from ..sql.rows import COLUMNS, Row

_NULL = type(None)
_NAMES = {
    "text": "job called_on id task state worker error unique_key cancel_reason queue requires "
    "became stream kind name digest cron timezone missed scopes queues who place what subject "
    "detail holder note fingerprint paused_by pause_reason reason recent text scope counts",
    "data": "args result progress stopping options defaults data entry",
    "whole number": "run priority attempt lease crashes checksum result_checksum capacity "
    "position size term count completed cancelled discarded deleted retried minute",
    "time": "run_at enqueued_at lease_until cancel_requested_at started_at unsupported_since "
    "final_at expires_at at next_at last_at created_at revoked_at until since due_at paused_at",
    "flag": "cancel_forced key_kept paused executable",
}
_KIND_OF = {name: kind for kind, names in _NAMES.items() for name in names.split()}
_TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "data": (bytes,),
    "whole number": (int,),
    "time": (float,),
    "flag": (int, bool),
}
# What may be missing.
_OPTIONAL = frozenset(
    {
        *("worker", "error", "unique_key", "cancel_reason", "result", "progress", "stopping"),
        *("result_checksum", "capacity", "lease_until", "cancel_requested_at", "started_at"),
        *("unsupported_since", "final_at", "expires_at", "last_at", "revoked_at", "requires"),
        *("due_at", "fingerprint", "paused_at", "count"),
    }
)

JOB = ("queue", "requires", *COLUMNS["moved_job"])
ERROR = (
    *("id", "attempt", "at", "worker", "became", "entry"),
    *("started_at", "due_at", "lease", "fingerprint"),
)
OUTPUT = ("id", "lease", "position", "stream", "at", "data")
FILE = ("id", "kind", "name", "digest", "size", "executable", "lease")
CALLBACK = (
    *("job", "called_on", "run", "id", "queue", "requires", "task", "priority", "args"),
    *("options", "checksum"),
)
QUEUE = ("name", "capacity", "paused", "paused_at", "paused_by", "pause_reason")
PAST = ("name", *queue_totals.PAST)
SCHEDULE = (*COLUMNS["schedule"], "recent")
TASK = ("name", "defaults")
TOKEN = COLUMNS["token"]
ACTION = ("at", "who", "place", "what", "subject", "detail", "reason", "count")
MINUTE = ("name", "minute", "counts")
MARK = ("at", "kind", "text", "who", "scope")
LEADER = COLUMNS["leader"]


def with_flags(columns: Sequence[str], row: Row) -> Row:
    """Return a row whose flags are True or False: SQLite has numbers for them."""
    values = list(row)
    for place in _flags(tuple(columns)):
        values[place] = bool(values[place])
    return tuple(values)


@lru_cache
def _flags(columns: tuple[str, ...]) -> list[int]:
    return [number for number, name in enumerate(columns) if _KIND_OF[name] == "flag"]


def find_fault(columns: Sequence[str], row: Row) -> str:
    """Return what of a row no other database can hold; "" if it can be copied as it is."""
    wrong = _mistyped(tuple(columns), tuple(map(type, row)))
    if not wrong:
        # SQLite has no float that is not a number.
        wrong = [name for name, value in zip(columns, row, strict=True) if value != value]  # noqa: PLR0124
    return ", ".join(
        "its lane is unknown" if name == "queue" else f"its {name} is no {_KIND_OF[name]}"
        for name in wrong
    )


@lru_cache(maxsize=1000)  # they differ in what is NULL
def _mistyped(columns: tuple[str, ...], types: tuple[type, ...]) -> list[str]:
    return [
        name
        for name, found in zip(columns, types, strict=True)
        if found not in _TYPES[_KIND_OF[name]] and not (found is _NULL and name in _OPTIONAL)
    ]
