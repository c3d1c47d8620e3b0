"""Whether a queue takes more jobs now: the bound, as one pure decision.

What counts against the bound is what waits: scheduled, available and retryable jobs. A retry or a
release is never refused, so it may stand above the bound until the queue drains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .job import WhenFull


@dataclass(frozen=True, slots=True)
class Accept:
    """Take the jobs, after discarding the `drop` oldest available ones."""

    drop: int = 0


@dataclass(frozen=True, slots=True)
class Offer:
    """Write the request down; whoever makes room accepts it, in order of arrival."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Say no. `hopeless` when no amount of waiting could help."""

    hopeless: bool = False


Admission = Accept | Offer | Refuse


def admit(
    *,
    size: int,
    depth: int,
    available: int,
    offers: int,
    capacity: int | None,
    when_full: WhenFull,
) -> Admission:
    """Decide about `size` new jobs for a queue with `depth` waiting and `offers` ahead of them."""
    if capacity is None or size == 0:
        return Accept()
    if size > max(capacity, 1):
        return Refuse(hopeless=True)
    if when_full == "drop_oldest":
        drop = max(0, depth + size - capacity)
        return Accept(drop) if drop <= available else Refuse()
    if offers == 0 and depth + size <= capacity:
        return Accept()
    # With no room at all (a rendezvous) even an impatient producer has to offer its job: only a
    # worker that is there to take it can make room. It withdraws the offer soon after.
    if when_full == "wait" or capacity == 0:
        return Offer()
    return Refuse()


def room(*, depth: int, capacity: int | None) -> int | float:
    """Return how many offered jobs may be accepted now.

    Never any at a rendezvous (capacity 0): there a claim takes the job out of the producer's hands.
    """
    return math.inf if capacity is None else max(0, capacity - depth)


def fits(size: int, *, depth: int, capacity: int | None) -> bool:
    """Whether an offer of `size` jobs may be accepted now; if not, those behind it wait too."""
    return size <= room(depth=depth, capacity=capacity)
