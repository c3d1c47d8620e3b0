"""The mark of a store whose jobs are moved: to or from where, and how far the move has come.

It is a row among the leaderships: `holder` is the address of the other store, and `note` has the
rest as JSON. So it needs no table, and every version of the schema can have one.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from ..core.unreadable import UNREADABLE
from ..errors import CorruptStoreError, UnavailableError

# The name of the leadership. It leads nothing, and nobody elects it.
MARK = "conveyor move"
# What a database says that refuses a change, because its jobs were moved or are being moved.
FROZEN = "its jobs were moved, or are being moved, to another store; run `conveyor doctor`"


class MoveMark(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a move. `id` names the move on both sides, `other` is the other side's address.

    `part` and `after` say how far the target is filled: the part that is copied, and the place in
    the source of its last row.
    """

    id: str
    role: Literal["source", "target"]
    other: str
    is_done: bool = False
    part: str = ""
    after: tuple[int | str, ...] = ()


class _Note(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    role: Literal["source", "target"]
    is_done: bool
    part: str
    after: tuple[int | str, ...]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Note).decode


def read_mark(rows: Sequence[tuple[Any, ...]]) -> MoveMark | None:
    """Return the mark in the rows of the statement "leader"; None if there is none."""
    if not rows:
        return None
    _, other, _, _, _, note = rows[0]
    try:
        known = _decode(note)
    except (TypeError, *UNREADABLE) as error:
        raise CorruptStoreError(f"the mark of a move is damaged: {error}") from error
    return MoveMark(other=str(other), **msgspec.structs.asdict(known))


def mark_row(mark: MoveMark, now: float) -> tuple[object, ...]:
    """Return the row of a mark, for the statement "copy_leader"."""
    return MARK, mark.other, 0.0, now, 0, mark_note(mark)


def mark_note(mark: MoveMark) -> str:
    """Return what a mark says beside the other store's address."""
    fields = msgspec.structs.asdict(mark)
    del fields["other"]
    return _encode(_Note(**fields)).decode()


def move_command(*arguments: str) -> str:
    """Return a command as a person can paste it into a shell."""
    return shlex.join(("conveyor", "move", *arguments))


def check_unmarked(place: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Raise UnavailableError for a store whose jobs are elsewhere, or not here completely."""
    mark = read_mark(rows)
    if mark is None:
        return
    if mark.role == "target":
        raise UnavailableError(
            f"jobs are being moved into {place} from {mark.other}: finish that with "
            f"`{move_command(mark.other, place)}`"
        )
    if mark.is_done:
        raise UnavailableError(
            f"the jobs of {place} were moved to {mark.other}: use that address. "
            f"`{move_command('--undo', place)}` opens this one again"
        )
    raise UnavailableError(
        f"the jobs of {place} are being moved to {mark.other}: finish that with "
        f"`{move_command(place, mark.other)}`, or give it up with `{move_command('--undo', place)}`"
    )
