"""Marks in the history: deploys, and what people note."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from ..errors import UsageError
from .bounds import BOUNDS, cut
from .job import WorkerInfo
from .record import Record
from .serving_workers import is_alive

MarkKind = Literal["release", "note"]

DAY = 86_400.0
# How long marks are kept, in seconds, and how many: the newest.
MARKS_KEPT, MOST_MARKS = 90 * DAY, 1000


class Mark(Record, frozen=True, kw_only=True):
    """A moment in the history, in Unix seconds: a `release`, or a `note`.

    The first worker of a new release makes a mark: `text` is the release, `who` the worker, and
    `queues` are those that it serves. A note is by a person.
    """

    seq: int
    at: float
    kind: MarkKind
    text: str
    who: str
    queues: tuple[str, ...] = ()


def checked_mark_text(text: str, what: str = "the text of a mark") -> str:
    """Return the text of a mark: one line of 1 to 200 characters; UsageError otherwise."""
    limit = BOUNDS["mark"].limit
    if not text.strip() or len(text) > limit or not text.isprintable():
        shown = repr(text) if len(text) <= limit else f"{len(text):,} characters"
        raise UsageError(f"{what} must be one line of 1 to {limit} characters, got {shown}")
    return text


def release_scope(worker: WorkerInfo) -> str:
    """Return what the workers of one application have in common: the queues they serve."""
    return msgspec.json.encode(sorted(worker.queues)).decode()


def release_text(worker: WorkerInfo) -> str:
    """Return a worker's release as a mark has it."""
    return cut("mark", worker.release)


def is_new_release(
    worker: WorkerInfo, newest: str | None, others: Sequence[WorkerInfo], now: float
) -> bool:
    """Whether a worker that has just started makes a mark.

    `newest` is the last marked release of workers with the same queues, `others` are all workers. A
    worker that is restarted, or started by a scaler, while others run its release makes none.
    """
    if not worker.release or release_text(worker) == newest:
        return False
    return not any(
        each.id != worker.id and each.release == worker.release and is_alive(each, now)
        for each in others
    )
