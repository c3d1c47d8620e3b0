"""A queue as one transaction sees it: its row, and what the transaction has changed so far."""

from __future__ import annotations

from typing import Any

import msgspec

from ...core.history import Counts, decode_counts
from ...core.job import State
from ...core.queue_totals import Past
from ...core.unreadable import UNREADABLE

# In the order of the columns that count them.
STATES = (
    State.SCHEDULED,
    State.AVAILABLE,
    State.RUNNING,
    State.RETRYABLE,
    State.COMPLETED,
    State.CANCELLED,
    State.DISCARDED,
)

_decode = msgspec.json.Decoder().decode


class QueueState(msgspec.Struct):
    """A queue's row, with what this transaction has changed so far."""

    capacity: int | None
    paused: bool
    counts: dict[State, int]
    written: dict[State, int]
    # Its counts could not be read, so they were counted, and are written as a whole.
    recounted: bool = False
    # What to add to what is kept beside the counts.
    past: dict[Past, int] = {}
    # What this transaction did, by slots of core/history.py, and what the queue's row has of its
    # present minute, where it has that.
    happened: Counts = {}
    minute: int | None = None
    recent: Any = None

    @property
    def depth(self) -> int:
        """How many jobs wait."""
        counts = self.counts
        return counts[State.SCHEDULED] + counts[State.AVAILABLE] + counts[State.RETRYABLE]

    @property
    def is_stocked(self) -> bool:
        """Whether a claim may get a job here: one that is available, or one that is offered."""
        available = self.counts[State.AVAILABLE] > 0
        return not self.paused and (available or self.capacity is not None)

    def reload(self, capacity: int | None, paused: bool, written: dict[State, int]) -> None:  # noqa: FBT001 - a row
        """Take over what others have committed; what this transaction changed is added to it."""
        self.counts = {
            state: written[state] + self.counts[state] - self.written[state] for state in written
        }
        self.capacity, self.paused, self.written = capacity, paused, written


def copy_of(queue: QueueState) -> QueueState:
    """Return a copy that can be changed by itself."""
    return msgspec.structs.replace(
        queue, counts=dict(queue.counts), happened=dict(queue.happened), past=dict(queue.past)
    )


def decode_minute(stored: Any) -> Counts:
    """Return what happened in a minute, as a row has it: JSON, or an array of the database."""
    if isinstance(stored, str):
        try:
            stored = _decode(stored)
        except UNREADABLE:
            return {}
    return decode_counts(stored)
