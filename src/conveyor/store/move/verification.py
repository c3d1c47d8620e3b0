"""Compares two stores: how many rows each part has, and what they and their order add up to."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest

import msgspec

from ..sql.queue_state import STATES
from ..sql.rows import Row
from ..sql.store import SqlStore
from ..sql.transaction import Tx
from . import column_types
from .contents import is_there, read_digests
from .parts import PAGE_ROWS, PARTS, Chunk, Cursor, Part

# How many rows that could not be moved are remembered for a message.
MOST_LEFT = 100

_QUEUE, _STATE = map(column_types.JOB.index, ("queue", "state"))
_encode = msgspec.msgpack.Encoder().encode

Report = Callable[[str, int], None]


@dataclass(slots=True)
class Summary:
    """What a store has. `left` says which rows cannot be moved, and why."""

    counts: dict[str, int] = field(default_factory=dict[str, int])
    checksums: dict[str, str] = field(default_factory=dict[str, str])
    # How many jobs each queue has of each state, as they were counted.
    states: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    left: list[str] = field(default_factory=list[str])
    left_jobs: set[str] = field(default_factory=set[str])
    left_count: int = 0


def summarize(store: SqlStore, report: Report, page_rows: int = PAGE_ROWS) -> Summary:
    """Read all of a store, a page at a time."""
    found = Summary()
    for part in PARTS:
        total = hashlib.sha256()
        count = 0
        for chunk in read_chunks(store, part, part.start, page_rows):
            note_left(found, part, chunk)
            for row in chunk.rows:
                if part.is_of_jobs and row[0] in found.left_jobs:
                    continue
                total.update(_encode(row))
                count += 1
                if part.name == "jobs":
                    found.states[str(row[_QUEUE]), str(row[_STATE])] += 1
            report(part.name, count)
        found.counts[part.name], found.checksums[part.name] = count, total.hexdigest()
    return found


def note_left(summary: Summary, part: Part, chunk: Chunk) -> None:
    """Remember which rows cannot be moved."""
    for name, what in chunk.left:
        summary.left_count += 1
        if len(summary.left) < MOST_LEFT:
            summary.left.append(what)
        if part.name == "jobs":
            summary.left_jobs.add(name)


def read_chunks(
    store: SqlStore, part: Part, after: Cursor, page_rows: int = PAGE_ROWS
) -> Iterator[Chunk]:
    """Read the pages of a part, each in a transaction of its own."""
    while True:
        place = after

        async def read(tx: Tx, place: Cursor = place) -> Chunk | None:
            return await part.read(tx, place, page_rows)

        chunk = store.transact(read, reads=True).result()
        if chunk is None:
            return
        yield chunk
        after = chunk.after


def find_differences(
    source: SqlStore, target: SqlStore, here: Summary, there: Summary, missing: Collection[str]
) -> list[str]:
    """Return how the target differs from the source; nothing if all of it was moved.

    `missing` are the contents that the source does not have itself.
    """
    wrong: list[str] = []
    for part in PARTS:
        name = part.name
        if here.checksums[name] != there.checksums[name] or here.counts[name] != there.counts[name]:
            at = _first_difference(source, target, part, here)
            wrong.append(
                f"{name}: {here.counts[name]:,} in the source and {there.counts[name]:,} in the "
                f"target; the first that differs is {at}"
            )
    return wrong + _wrong_counts(target, there) + _missing_contents(source, target, missing)


def _first_difference(source: SqlStore, target: SqlStore, part: Part, here: Summary) -> str:
    def rows(store: SqlStore) -> Iterator[Row]:
        for chunk in read_chunks(store, part, part.start):
            for row in chunk.rows:
                if not (part.is_of_jobs and row[0] in here.left_jobs):
                    yield row

    column = column_types.JOB.index("id") if part.name == "jobs" else 0
    for number, pair in enumerate(zip_longest(rows(source), rows(target)), start=1):
        if _encode(pair[0]) != _encode(pair[1]):
            row = pair[0] or pair[1]
            return f"number {number:,}, {row[column]!s:.100}"
    return "gone: somebody changes one of the stores"


def _wrong_counts(target: SqlStore, there: Summary) -> list[str]:
    """Compare how many jobs the queues of the target say they have with what was counted."""

    async def read(tx: Tx) -> list[Row]:
        return await tx.rows("queues")

    return [
        f"queue {name!r} says that it has {kept:,} {state} jobs, and there are "
        f"{there.states[name, state]:,}"
        for name, _, _, *numbers in target.transact(read, reads=True).result()
        for state, kept in zip(STATES, numbers, strict=True)
        if kept != there.states[name, state]
    ]


def _missing_contents(source: SqlStore, target: SqlStore, missing: Collection[str]) -> list[str]:
    wrong: list[str] = []
    after = ""
    while rows := read_digests(source, after):
        wrong += [
            f"the content {digest} is not complete"
            for digest, size in rows
            if digest not in missing and not is_there(target, digest, size)
        ]
        after = rows[-1][0]
    return wrong
