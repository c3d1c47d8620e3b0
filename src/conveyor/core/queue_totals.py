"""The totals of a queue, which never go back: what its counts show, and what they show no more.

A job that is deleted, or retried by hand, leaves the count of its final state. Stores keep how many
did, in the transaction in which they leave, so that a total costs nothing while jobs run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from .job import FINAL, QueueTotals, State

# What is kept of a queue beside its counts: how many jobs have left each final state, how many were
# deleted, and how many attempts have failed and were followed by a retry.
Past = Literal["completed", "cancelled", "discarded", "deleted", "retried"]
PAST: tuple[Past, ...] = ("completed", "cancelled", "discarded", "deleted", "retried")

_OF_STATE: Mapping[State, Past] = {
    State.COMPLETED: "completed",
    State.CANCELLED: "cancelled",
    State.DISCARDED: "discarded",
}


def leaving(state: State, *, deleted: bool) -> tuple[Past, ...]:
    """Return what to count when a job leaves its state, for a retry or because it is deleted."""
    left = (_OF_STATE[state],) if state in FINAL else ()
    return (*left, "deleted") if deleted else left


def corrected(before: Mapping[State, int], after: Mapping[State, int]) -> dict[Past, int]:
    """Return what to count when the counts of a queue are corrected, so that no total goes back."""
    lost = sum(before.values()) - sum(after.values())
    changes: dict[Past, int] = {
        _OF_STATE[state]: before.get(state, 0) - after.get(state, 0) for state in FINAL
    }
    changes["deleted"] = lost
    return {what: count for what, count in changes.items() if count > 0}


def totals(counts: Mapping[State, int], past: Mapping[Past, int]) -> QueueTotals:
    """Return the totals of a queue from its counts by state and from what is kept beside them."""
    return QueueTotals(
        enqueued=sum(counts.values()) + past.get("deleted", 0),
        retried=past.get("retried", 0),
        completed=counts.get(State.COMPLETED, 0) + past.get("completed", 0),
        cancelled=counts.get(State.CANCELLED, 0) + past.get("cancelled", 0),
        discarded=counts.get(State.DISCARDED, 0) + past.get("discarded", 0),
    )
