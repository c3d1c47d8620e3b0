"""Enqueueing in the application's own transaction in two round trips, where little is to decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ...core import lifecycle
from ...core.job import NewJob
from ..hint_rules import queue_hint
from ..messages import Hint
from ..sql.rows import checksum, encode_options
from ..unique_keys import unique_key
from .address import Address
from .notifier import encode_hints

# It never fails, so it needs no savepoint: the time, and whether the tables are in this database.
LOOK = """SELECT extract(epoch FROM clock_timestamp())::FLOAT8, EXISTS (
    SELECT 1 FROM pg_catalog.pg_proc JOIN pg_catalog.pg_namespace AS place
        ON place.oid = pronamespace
    WHERE proname = 'enqueue_plain' AND nspname = $1::TEXT
        AND has_schema_privilege(place.oid, 'USAGE')
        AND has_function_privilege(pg_proc.oid, 'EXECUTE')
)"""
_TYPES = (
    *("TEXT", "INT8", "FLOAT8", "TEXT[]", "TEXT[]", "TEXT[]", "BYTEA[]", "BYTEA[]", "INT8[]"),
    *("TEXT[]", "INT8[]", "FLOAT8[]", "FLOAT8[]", "TEXT[]", "BOOL[]", "TEXT[]", "TEXT[]"),
)

_encode = msgspec.json.Encoder().encode
# The place of the state in a row.
_STATE = 6


def is_plain(jobs: Sequence[NewJob]) -> bool:
    """Whether these jobs of one queue can be inserted without looking at any other job."""
    return bool(jobs) and not any(each.options.files or each.callbacks for each in jobs)


def call(address: Address) -> str:
    """Return the statement that inserts jobs, and says whether it did."""
    given = ", ".join(f"${number}::{kind}" for number, kind in enumerate(_TYPES, start=1))
    return f"SELECT {address.schema}.enqueue_plain({given})"


def values(jobs: Sequence[NewJob], capacity: int | None, address: Address, now: float) -> list[Any]:
    """Return the values of that statement's parameters."""
    queue = jobs[0].queue
    rows = [_row(new, now) for new in jobs]
    states = dict.fromkeys(row[_STATE] for row in rows)
    hints = [Hint(queue_hint(state), (queue,)) for state in states]
    columns = [list(column) for column in zip(*rows, strict=True)]
    return [queue, capacity, now, *columns, *encode_hints(address, hints)]


def _row(new: NewJob, now: float) -> tuple[Any, ...]:
    options = encode_options(new.options)
    state, run_at = lifecycle.first_state(new, now)
    return (
        new.id,
        _encode(new.options.requires).decode(),
        new.task,
        new.args,
        options,
        checksum(new.id, new.task, new.args, options),
        state,
        new.priority,
        run_at,
        new.options.expires_at,
        None if new.options.key is None else unique_key(new),
        new.options.key_until == "pruned",
    )
