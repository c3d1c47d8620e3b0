"""The parts of a store, in the order in which they are moved, and how a page of each is copied.

A row has no number of its own store: a job is named by its id, and its lane by queue and labels. So
the rows of both stores are equal if, and only if, the move was right.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ...core.history import Counts, add_counts, encode_counts
from ...core.job import Options, State
from ...core.page import cut_page
from ...core.unreadable import UNREADABLE
from ..move_mark import MARK
from ..sql.operations.minutes import minutes
from ..sql.queue_state import STATES, decode_minute
from ..sql.rows import Row, decode_labels
from ..sql.transaction import Tx
from . import column_types
from .column_types import find_fault, with_flags

# How many rows a page has, at most. It also ends before its large values have 4 MiB.
PAGE_ROWS = 1000
# No minute is later.
LAST_MINUTE = 1 << 40

Cursor = tuple[int | str, ...]

_OPTIONS = column_types.JOB.index("options")
_STATE = column_types.JOB.index("state")
_encode = msgspec.json.Encoder().encode
_decode_options = msgspec.json.Decoder(Options).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some rows of a part, and where the next ones begin. `left` are the rows that cannot be moved:
    the id of each one's job, if it has one, and what is wrong.
    """

    rows: list[Row]
    after: Cursor
    left: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One table. `read` returns some rows after a place, at most so many, or None at the end."""

    name: str
    start: Cursor
    read: Callable[[Tx, Cursor, int], Coroutine[Any, Any, Chunk | None]]
    write: Callable[[Tx, Sequence[Row]], Coroutine[Any, Any, None]]
    # Whether its first column is the id of a job.
    is_of_jobs: bool = False


def _check(columns: Sequence[str], rows: Iterable[Row], after: Cursor, what: str) -> Chunk:
    """Return the rows that can be moved, and what is wrong with the others."""
    good: list[Row] = []
    left: list[tuple[str, str]] = []
    for row in rows:
        wrong = find_fault(columns, row)
        if wrong:
            name = row[columns.index("id" if "id" in columns else columns[0])]
            left.append((str(name), f"{what} {name!s:.100}: {wrong}"))
        else:
            good.append(with_flags(columns, row))
    return Chunk(rows=good, after=after, left=left)


async def _numbered(
    tx: Tx,
    statements: tuple[str, str],
    columns: Sequence[str],
    after: Cursor,
    limit: int,
    what: str,
) -> Chunk | None:
    """Read a page of a table that is walked by its numbers, and whose rows may be large.

    The first statement reads how large they are.
    """
    measure, read = statements
    sizes = await tx.rows(measure, (after[0], limit))
    page = cut_page(sizes, limit, lambda row: int(row[1] or 0))
    if not page:
        return None
    rows = await tx.rows(read, (page[0][0], page[-1][0]))
    return _check(columns, rows, (page[-1][0],), what)


async def _named(
    tx: Tx,
    statement: str,
    columns: Sequence[str],
    after: Cursor,
    limit: int,
    what: str,
    *more: object,
) -> Chunk | None:
    """Read a page of a table whose rows are small and have a name."""
    rows = await tx.rows(statement, (*after, *more, limit))
    return _check(columns, rows, (str(rows[-1][0]),), what) if rows else None


# -- jobs ----------------------------------------------------------------------------------------


async def read_jobs(tx: Tx, after: Cursor, limit: int) -> Chunk | None:
    """Read a page of jobs, in their order."""
    chunk = await _numbered(
        tx, ("moved_job_sizes", "moved_jobs"), column_types.JOB, after, limit, "job"
    )
    if chunk is not None:
        chunk.rows[:] = map(_with_labels, chunk.rows)
    return chunk


def _with_labels(row: Row) -> Row:
    """Return a row whose labels can be read, as those of a damaged lane are: from the options."""
    queue, requires, *job = row
    return (queue, _readable_labels(requires, row[_OPTIONS]), *job)


def _readable_labels(requires: Any, options: Any) -> str:
    labels = decode_labels(requires)
    if labels is None:
        try:
            labels = _decode_options(options).requires
        except (TypeError, *UNREADABLE):
            labels = ()
    return _encode(labels).decode()


async def write_jobs(tx: Tx, rows: Sequence[Row]) -> None:
    """Add jobs in this order."""
    counts: Counter[tuple[str, str]] = Counter()
    values: list[Row] = []
    for queue, requires, *job in rows:
        values.append((await tx.lane(queue, decode_labels(requires) or ()), *job))
    for row in rows:
        counts[row[0], row[_STATE]] += 1
    await tx.many("add_moved_job", values)
    for (queue, state), count in counts.items():
        if state in STATES:  # else it is in a damaged row, which is in no count
            await tx.tally(queue, State(state), count)


async def _with_numbers(tx: Tx, rows: Sequence[Row]) -> list[Row]:
    """Return rows with the number that the job of each has here; without those of no job."""
    ids = {row[0] for row in rows}
    # Not every database has control characters in JSON.
    plain = sorted(filter(str.isprintable, ids))
    numbers: dict[str, int] = dict(await tx.rows("job_numbers", (_encode(plain).decode(),)))
    for each in ids.difference(plain):
        for (number,) in await tx.rows("is_there", (each,)):
            numbers[each] = number
    return [(numbers[row[0]], *row[1:]) for row in rows if row[0] in numbers]


async def read_errors(tx: Tx, after: Cursor, limit: int) -> Chunk | None:
    """Read a page of the history."""
    return await _numbered(
        tx,
        ("moved_error_sizes", "moved_errors"),
        column_types.ERROR,
        after,
        limit,
        "an entry of the history of job",
    )


async def write_errors(tx: Tx, rows: Sequence[Row]) -> None:
    """Add entries of the history."""
    await tx.many("note", await _with_numbers(tx, rows))


async def read_output(tx: Tx, after: Cursor, limit: int) -> Chunk | None:
    """Read a page of output."""
    return await _numbered(
        tx,
        ("moved_output_sizes", "moved_output"),
        column_types.OUTPUT,
        after,
        limit,
        "a part of the output of job",
    )


async def write_output(tx: Tx, rows: Sequence[Row]) -> None:
    """Add output."""
    await tx.many("write_output", await _with_numbers(tx, rows))


async def read_files(tx: Tx, after: Cursor, limit: int) -> Chunk | None:
    """Read a page of the files of jobs, without their contents."""
    rows = await tx.rows("moved_files", (*after, limit))
    if not rows:
        return None
    job, _, kind, name, *_ = rows[-1]
    found = (row[1:] for row in rows)
    return _check(column_types.FILE, found, (job, kind, name), "a file of job")


async def write_files(tx: Tx, rows: Sequence[Row]) -> None:
    """Add the files of jobs, without their contents."""
    await tx.many("add_moved_file", await _with_numbers(tx, rows))


async def read_callbacks(tx: Tx, after: Cursor, limit: int) -> Chunk | None:
    """Read a page of the callbacks of jobs."""
    rows = await tx.rows("moved_callbacks", (*after, limit))
    if not rows:
        return None
    found = [(*row[1:6], _readable_labels(row[6], row[-2]), *row[7:]) for row in rows]
    return _check(column_types.CALLBACK, found, (rows[-1][0], rows[-1][2]), "a callback of job")


async def write_callbacks(tx: Tx, rows: Sequence[Row]) -> None:
    """Add the callbacks of jobs."""
    values: list[Row] = []
    for job, called_on, number, own, queue, requires, *rest in await _with_numbers(tx, rows):
        lane = await tx.lane(queue, decode_labels(requires) or ())
        values.append((job, called_on, number, own, lane, *rest))
    await tx.many("add_moved_callback", values)


# -- what is small -------------------------------------------------------------------------------


async def read_queues(tx: Tx, after: Cursor, limit: int) -> Chunk | None:
    """Read a page of queues, without their counts."""
    rows = await tx.rows("moved_queues", (*after, limit))
    # The next producer declares a capacity again that cannot be read.
    found = (
        (name, capacity if type(capacity) is int else None, bool(paused), *pause)
        for name, capacity, paused, *pause in rows
    )
    return _check(column_types.QUEUE, found, (str(rows[-1][0]),), "queue") if rows else None


async def write_queues(tx: Tx, rows: Sequence[Row]) -> None:
    """Add queues, without jobs."""
    for name, capacity, *pause in rows:
        await tx.rows("add_queue", (name,))
        await tx.rows("set_capacity", (capacity, name))
        await tx.rows("set_paused", (*pause, name))


async def read_past(tx: Tx, after: Cursor, limit: int) -> Chunk | None:
    """Read a page of what the counts of queues show no more."""
    return await _named(tx, "moved_past", column_types.PAST, after, limit, "the totals of queue")


async def write_past(tx: Tx, rows: Sequence[Row]) -> None:
    """Add what the counts of queues show no more, so that no total goes back."""
    for row in rows:
        await tx.rows("note_past", row)


async def read_schedules(tx: Tx, after: Cursor, limit: int) -> Chunk | None:
    """Read a page of schedules."""
    return await _named(tx, "moved_schedules", column_types.SCHEDULE, after, limit, "schedule")


async def write_schedules(tx: Tx, rows: Sequence[Row]) -> None:
    """Add schedules."""
    await tx.many("add_moved_schedule", rows)


async def read_tasks(tx: Tx, after: Cursor, limit: int) -> Chunk | None:
    """Read a page of what applications declare about tasks."""
    return await _named(tx, "moved_tasks", column_types.TASK, after, limit, "task")


async def write_tasks(tx: Tx, rows: Sequence[Row]) -> None:
    """Add what applications declare about tasks."""
    await tx.many("put_task", rows)


async def read_tokens(tx: Tx, after: Cursor, limit: int) -> Chunk | None:
    """Read a page of tokens."""
    return await _named(tx, "tokens", column_types.TOKEN, after, limit, "token")


async def write_tokens(tx: Tx, rows: Sequence[Row]) -> None:
    """Add tokens."""
    await tx.many("add_token", rows)


async def read_actions(tx: Tx, after: Cursor, limit: int) -> Chunk | None:
    """Read a page of the audit log."""
    rows = await tx.rows("moved_actions", (*after, limit))
    if not rows:
        return None
    without_numbers = (row[1:] for row in rows)
    return _check(column_types.ACTION, without_numbers, (rows[-1][0],), "an action at")


async def write_actions(tx: Tx, rows: Sequence[Row]) -> None:
    """Add actions to the audit log."""
    await tx.many("note_action", rows)


async def read_minutes(tx: Tx, after: Cursor, limit: int) -> Chunk | None:
    """Read what happened in the next queue: a row for each minute."""
    queues = await tx.rows("moved_queues", (*after, 1))
    if not queues:
        return None
    [(name, *_)] = queues
    counts: defaultdict[int, Counts] = defaultdict(dict)
    page = await minutes(tx, 0, LAST_MINUTE, queue=name, limit=limit)
    while True:
        for each in page:
            add_counts(counts[each.minute], each.counts)
        if not page.more:
            break
        last = page[-1].minute, page[-1].queue
        page = await minutes(tx, 0, LAST_MINUTE, queue=name, after=last, limit=limit)
    rows = [
        (name, minute, _encode(encode_counts(dict(sorted(counts[minute].items())))).decode())
        for minute in sorted(counts)
        if counts[minute]
    ]
    return _check(column_types.MINUTE, rows, (str(name),), "a minute of queue")


async def write_minutes(tx: Tx, rows: Sequence[Row]) -> None:
    """Add what happened in queues."""
    for name, minute, counts in rows:
        await tx.add_minute(name, minute, decode_minute(counts))


async def read_marks(tx: Tx, after: Cursor, limit: int) -> Chunk | None:
    """Read a page of the marks in the history."""
    rows = await tx.rows("moved_marks", (*after, limit))
    if not rows:
        return None
    without_numbers = (row[1:] for row in rows)
    return _check(column_types.MARK, without_numbers, (rows[-1][0],), "a mark at")


async def write_marks(tx: Tx, rows: Sequence[Row]) -> None:
    """Add marks to the history."""
    await tx.many("add_mark", rows)


async def read_leaders(tx: Tx, after: Cursor, limit: int) -> Chunk | None:
    """Read a page of the last leaderships, with the notes that their holders left."""
    return await _named(tx, "moved_leaders", column_types.LEADER, after, limit, "leadership", MARK)


async def write_leaders(tx: Tx, rows: Sequence[Row]) -> None:
    """Add leaderships that have ended."""
    await tx.many("copy_leader", rows)


PARTS = (
    Part(name="queues", start=("",), read=read_queues, write=write_queues),
    Part(name="totals", start=("",), read=read_past, write=write_past),
    Part(name="jobs", start=(0,), read=read_jobs, write=write_jobs),
    Part(name="history", start=(0,), read=read_errors, write=write_errors, is_of_jobs=True),
    Part(name="output", start=(0,), read=read_output, write=write_output, is_of_jobs=True),
    Part(name="files", start=(0, "", ""), read=read_files, write=write_files, is_of_jobs=True),
    Part(
        name="callbacks", start=(0, ""), read=read_callbacks, write=write_callbacks, is_of_jobs=True
    ),
    Part(name="schedules", start=("",), read=read_schedules, write=write_schedules),
    Part(name="tasks", start=("",), read=read_tasks, write=write_tasks),
    Part(name="tokens", start=("",), read=read_tokens, write=write_tokens),
    Part(name="audit", start=(0,), read=read_actions, write=write_actions),
    Part(name="minutes", start=("",), read=read_minutes, write=write_minutes),
    Part(name="marks", start=(0,), read=read_marks, write=write_marks),
    Part(name="leaders", start=("",), read=read_leaders, write=write_leaders),
)
