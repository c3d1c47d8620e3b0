"""Whether a bounded queue accepts more jobs now, as one pure decision.

Waiting jobs count against the capacity: scheduled, available and retryable ones. A retry or a
release is never refused, so the depth may exceed the capacity until the queue drains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .job import WhenFull


@dataclass(frozen=True, slots=True)
class Accept:
    """Accept the jobs, after discarding the `drop` oldest available ones."""

    drop: int = 0


@dataclass(frozen=True, slots=True)
class Offer:
    """Store the request as an offer, to be accepted in order of arrival once there is room."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuse the jobs. `hopeless`: waiting cannot help, because they never fit."""

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
    if never_fits(size, capacity):
        return Refuse(hopeless=True)
    if when_full == "drop_oldest":
        drop = max(0, depth + size - capacity)
        return Accept(drop) if drop <= available else Refuse()
    if offers == 0 and depth + size <= capacity:
        return Accept()
    # At a rendezvous (capacity 0) even a producer that does not wait must offer its job, because
    # only a waiting worker can take it. It withdraws the offer soon after.
    if when_full == "wait" or is_rendezvous(capacity):
        return Offer()
    return Refuse()


def never_fits(size: int, capacity: int | None) -> bool:
    """Whether a request of `size` jobs has no room even in an empty queue."""
    return capacity is not None and size > max(capacity, 1)


def is_rendezvous(capacity: int | None) -> bool:
    """Whether a queue stores no waiting jobs: a claim takes each directly from its producer."""
    return capacity == 0


def room(*, depth: int, capacity: int | None) -> int | float:
    """Return how many offered jobs can be accepted now.

    None at a rendezvous (capacity 0), where a claim takes the job directly from its offer.
    """
    return math.inf if capacity is None else max(0, capacity - depth)


def fits(size: int, *, depth: int, capacity: int | None) -> bool:
    """Whether an offer of `size` jobs may be accepted now; if not, those behind it wait too."""
    return size <= room(depth=depth, capacity=capacity)
