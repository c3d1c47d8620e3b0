"""Marks in the history."""

from __future__ import annotations

import msgspec

from ....core.job import WorkerInfo
from ....core.marks import (
    MARKS_KEPT,
    MOST_MARKS,
    Mark,
    checked_mark_text,
    release_scope,
    release_text,
)
from ....core.page import Page, cut_page
from ....core.unreadable import UNREADABLE
from ...list_rules import mark_size
from ..rows import Row, finite
from ..transaction import Tx

LAST_SEQ = 2**63 - 1

_decode_queues = msgspec.json.Decoder(tuple[str, ...]).decode


async def add_mark(tx: Tx, text: str, *, who: str) -> Mark:
    """Add a note."""
    row = (tx.now, "note", checked_mark_text(text), who, "[]")
    [(seq,)] = await tx.rows("add_mark", row)
    return Mark(seq=seq, at=tx.now, kind="note", text=text, who=who)


async def marks(tx: Tx, *, before: int | None = None, limit: int) -> Page[Mark]:
    """Return one page of the marks, newest first."""
    rows = await tx.rows("marks", (LAST_SEQ if before is None else before, limit + 1))
    return cut_page(map(_mark, rows), limit, mark_size)


async def newest_release(tx: Tx, worker: WorkerInfo) -> str | None:
    """Return the last marked release of workers with the same queues."""
    for (text,) in await tx.rows("newest_release", (release_scope(worker),)):
        return str(text)
    return None


async def add_release(tx: Tx, worker: WorkerInfo) -> None:
    """Add the mark of a worker's release."""
    row = (tx.now, "release", release_text(worker), worker.id, release_scope(worker))
    await tx.rows("add_mark", row)


async def prune_marks(tx: Tx, *, limit: int) -> None:
    """Delete the marks that are too old, or too many."""
    await tx.rows("delete_old_marks", (tx.now - MARKS_KEPT, MOST_MARKS, limit))


def _mark(row: Row) -> Mark:
    """Return a mark. What of it cannot be read, in a damaged row, is empty."""
    seq, at, kind, text, who, scope = row
    try:
        queues = _decode_queues(scope)
    except (TypeError, *UNREADABLE):
        queues = ()
    return Mark(
        seq=seq,
        at=finite(at),
        kind="release" if kind == "release" else "note",
        text=text if isinstance(text, str) else "",
        who=who if isinstance(who, str) else "",
        queues=queues,
    )
