"""The course of a move: mark both stores, copy page by page, compare, and close the source.

Everything that a killed move must know is in the marks of the two stores. The source is frozen from
the beginning on, so a page that was copied stays right. The target's mark says which page is next,
and is written in the transaction of the page.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from ...errors import UnavailableError, UsageError
from ..move_mark import MARK, MoveMark, mark_note, mark_row, move_command, read_mark
from ..sql.rows import Row
from ..sql.store import SqlStore
from ..sql.transaction import Tx
from .contents import copy_content, read_digests
from .obstacles import find_source_obstacles, find_target_obstacles
from .parts import PAGE_ROWS, PARTS, Cursor, Part
from .verification import Report, Summary, find_differences, read_chunks, summarize

# The part after the tables: the contents of files.
CONTENTS = "contents"
_ORDER = (*(part.name for part in PARTS), CONTENTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """How a move ended. Without `differences`, the source is closed and the target open.

    `left` are the rows that are damaged so that only the source can hold them.
    """

    source: Summary
    target: Summary
    differences: Sequence[str]
    left: Sequence[str]


def address_of(store: SqlStore) -> str:
    """Return the address of a store as a person writes it, without a password."""
    return store.url.removeprefix("sqlite:///").partition("?durability=")[0]


def find_obstacles(source: SqlStore) -> list[str]:
    """Return what has to end before the jobs of a store can be moved."""

    async def find(tx: Tx) -> list[str]:
        return await find_source_obstacles(tx, address_of(source))

    return source.transact(find, reads=True).result()


def mark_of(store: SqlStore) -> MoveMark | None:
    """Return the mark of a store."""

    async def read(tx: Tx) -> MoveMark | None:
        return read_mark(await tx.rows("leader", (MARK,)))

    return store.transact(read, reads=True).result()


def move(
    source: SqlStore, target: SqlStore, report: Report, *, page_rows: int = PAGE_ROWS
) -> Moved | None:
    """Move everything, or go on with a move that was interrupted. None if it has ended already.

    UsageError, and nothing is changed, if something is in the way. `report` gets the part that is
    copied and how many of its rows were.
    """
    mark = _begin(source, target)
    if mark is None:
        return None
    missing = _copy(source, target, mark, report, page_rows)
    here = summarize(source, lambda part, count: report(f"checking {part}", count))
    there = summarize(target, lambda part, count: report(f"comparing {part}", count))
    differences = find_differences(source, target, here, there, missing)
    if differences:
        undo(source)
    else:
        _finish(source, target, mark.id)
    left = [*here.left, *missing.values()]
    return Moved(source=here, target=there, differences=differences, left=left)


def undo(source: SqlStore) -> MoveMark:
    """Open a store again whose jobs were moved, or are being moved; return its mark."""

    async def open_again(tx: Tx) -> MoveMark:
        mark = read_mark(await tx.rows("leader", (MARK,)))
        if mark is None:
            raise UsageError(f"no move from {address_of(source)} was begun: nothing to undo")
        if mark.role == "target":
            raise UsageError(
                f"{address_of(source)} is the target of a move from {mark.other}: undo that there, "
                "then delete this store, of which only a part was copied"
            )
        await tx.rows("thaw")
        return mark

    return source.transact(open_again, reads=False).result()


def _begin(source: SqlStore, target: SqlStore) -> MoveMark | None:
    """Mark both stores; return the target's mark, which says where to go on. None at the end."""
    here, there = address_of(source), address_of(target)
    if here == there:
        raise UsageError(f"{here} would be moved to itself: name two stores")
    begun, filled = mark_of(source), mark_of(target)
    if begun is not None:
        _check_same_move(begun, filled, here, there)
        if filled is not None or begun.is_done:
            return filled
    else:
        if filled is not None:
            raise UsageError(
                f"{there} has jobs of another move, with {filled.other}: name another store, or "
                "delete this one if that move was given up"
            )
        _check_target(target)
        begun = _freeze(source, there)
    mark = MoveMark(id=begun.id, role="target", other=here, part=_ORDER[0])
    try:
        _mark_target(target, mark)
    except UsageError:
        # Somebody began to use it meanwhile. Nothing was copied yet.
        undo(source)
        raise
    return mark


def _check_same_move(begun: MoveMark, filled: MoveMark | None, here: str, there: str) -> None:
    if begun.role == "target":
        raise UsageError(
            f"jobs are being moved into {here} from {begun.other}: finish that first, with "
            f"`{move_command(begun.other, here)}`"
        )
    is_other = begun.other != there if filled is None else filled.id != begun.id
    if is_other:
        told = "were moved" if begun.is_done else "are being moved"
        raise UsageError(
            f"the jobs of {here} {told} to {begun.other}, not to {there}: name that, or give it up "
            f"with `{move_command('--undo', here)}`"
        )


def _check_target(target: SqlStore) -> None:
    async def check(tx: Tx) -> list[str]:
        return await find_target_obstacles(tx, address_of(target))

    _refuse(target.transact(check, reads=True).result())


def _freeze(source: SqlStore, there: str) -> MoveMark:
    mark = MoveMark(id=uuid.uuid4().hex, role="source", other=there)

    async def freeze(tx: Tx) -> None:
        # First, so that what is found then cannot change any more.
        await tx.rows("freeze")
        _refuse(await find_source_obstacles(tx, address_of(source)))
        await tx.rows("copy_leader", mark_row(mark, tx.now))

    source.transact(freeze, reads=False).result()
    return mark


def _mark_target(target: SqlStore, mark: MoveMark) -> None:
    async def put(tx: Tx) -> None:
        _refuse(await find_target_obstacles(tx, address_of(target)))
        await tx.rows("copy_leader", mark_row(mark, tx.now))

    target.transact(put, reads=False).result()


def _refuse(obstacles: Sequence[str]) -> None:
    if obstacles:
        raise UsageError("nothing was moved. In the way: " + "; ".join(obstacles))


def _copy(
    source: SqlStore, target: SqlStore, mark: MoveMark, report: Report, page_rows: int
) -> dict[str, str]:
    """Copy what was not copied; return what is wrong with which contents of the source."""
    if mark.part != CONTENTS:
        for part in PARTS[_ORDER.index(mark.part) :]:
            if mark.part != part.name:
                mark = _advance(target, mark, part.name, ())
            mark = _copy_part(source, target, mark, part, report, page_rows)
        _advance(target, mark, CONTENTS, ())
    return _copy_contents(source, target, report)


def _copy_part(
    source: SqlStore,
    target: SqlStore,
    mark: MoveMark,
    part: Part,
    report: Report,
    page_rows: int,
) -> MoveMark:
    count = 0
    for chunk in read_chunks(source, part, mark.after or part.start, page_rows):
        mark = _advance(target, mark, part.name, chunk.after, partial(_write, part, chunk.rows))
        count += len(chunk.rows)
        report(part.name, count)
    return mark


async def _write(part: Part, rows: Sequence[Row], tx: Tx) -> None:
    await part.write(tx, rows)


async def _write_nothing(tx: Tx) -> None:
    """Write nothing but the mark."""


def _advance(
    target: SqlStore,
    mark: MoveMark,
    part: str,
    after: Cursor,
    write: Callable[[Tx], Coroutine[Any, Any, None]] = _write_nothing,
) -> MoveMark:
    """Write a page, and in the same transaction that it was written."""
    following = msgspec.structs.replace(mark, part=part, after=after)

    async def advance(tx: Tx) -> None:
        if not await tx.rows("advance_mark", (mark_note(following), MARK, mark_note(mark))):
            raise UnavailableError(
                f"another process moves the same jobs to {address_of(target)}, or has given the "
                "move up; nothing of this page was written"
            )
        await write(tx)

    target.transact(advance, reads=False).result()
    return following


def _copy_contents(source: SqlStore, target: SqlStore, report: Report) -> dict[str, str]:
    wrong: dict[str, str] = {}
    after = ""
    count = 0
    while rows := read_digests(source, after):
        for digest, _ in rows:
            fault = copy_content(source, target, digest)
            if fault:
                wrong[digest] = fault
            count += 1
            report(CONTENTS, count)
        after = str(rows[-1][0])
    return wrong


def _finish(source: SqlStore, target: SqlStore, move_id: str) -> None:
    """Close the source, then open the target: at no time are both open."""

    async def close(tx: Tx) -> None:
        mark = read_mark(await tx.rows("leader", (MARK,)))
        if mark is None or mark.id != move_id:
            raise UnavailableError(
                f"the move from {address_of(source)} was given up meanwhile: "
                f"{address_of(target)} stays closed"
            )
        done = msgspec.structs.replace(mark, is_done=True)
        await tx.rows("copy_leader", mark_row(done, tx.now))

    async def open_target(tx: Tx) -> None:
        await tx.rows("remove_mark", (MARK,))

    source.transact(close, reads=False).result()
    target.transact(open_target, reads=False).result()
