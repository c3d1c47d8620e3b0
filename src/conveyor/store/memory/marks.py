"""Marks in the history."""

from __future__ import annotations

import msgspec

from ...core.job import WorkerInfo
from ...core.marks import (
    MARKS_KEPT,
    MOST_MARKS,
    Mark,
    checked_mark_text,
    is_new_release,
    release_text,
)
from ...core.page import Page, cut_page
from ..list_rules import mark_size
from .data import MemoryData


def add_mark(memory: MemoryData, text: str, *, who: str) -> Mark:
    """Add a note."""
    return _add(memory, Mark(seq=0, at=0.0, kind="note", text=checked_mark_text(text), who=who))


def marks(memory: MemoryData, *, before: int | None = None, limit: int) -> Page[Mark]:
    """Return one page of the marks, newest first."""
    newest = reversed(memory.marks)
    older = (each for each in newest if before is None or each.seq < before)
    return cut_page(older, limit, mark_size)


def mark_release(memory: MemoryData, worker: WorkerInfo) -> None:
    """Add a mark if this worker, which has just started, is the first one of a release."""
    queues = tuple(sorted(worker.queues))
    known = (
        each.text
        for each in reversed(memory.marks)
        if each.kind == "release" and each.queues == queues
    )
    if is_new_release(worker, next(known, None), [*memory.workers.values()], memory.now):
        text = release_text(worker)
        new = Mark(seq=0, at=0.0, kind="release", text=text, who=worker.id, queues=queues)
        _add(memory, new)


def prune_marks(memory: MemoryData) -> None:
    """Delete the marks that are too old, or too many."""
    while memory.marks and (
        memory.marks[0].at < memory.now - MARKS_KEPT
        or memory.marks[0].seq <= memory.mark_numbers - MOST_MARKS
    ):
        memory.marks.popleft()


def _add(memory: MemoryData, mark: Mark) -> Mark:
    memory.mark_numbers += 1
    kept = msgspec.structs.replace(mark, seq=memory.mark_numbers, at=memory.now)
    memory.marks.append(kept)
    return kept
