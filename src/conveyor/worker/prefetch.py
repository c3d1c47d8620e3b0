"""How many jobs a worker claims, and from which queues."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from ..core.retry import Draw
from ..store.messages import Want

# Jobs are claimed ahead for this long, so that short jobs do not pay a transaction each.
AHEAD = 0.04
MOST_AHEAD = 1000


def prefetch(finished: int, seconds: float) -> int:
    """Return how many jobs to hold beyond the free slots, from how many ended in `seconds`."""
    if seconds <= 0:
        return 0
    return min(MOST_AHEAD, int(finished / seconds * AHEAD))


def claim_limit(
    *, slots: int, ahead: int, left: float, held: int, ready: int, reports: bool = False
) -> int:
    """Return how many jobs to ask for now; 0 is not to ask.

    `held` jobs are leased, of which `ready` ones wait for a slot; `left` is how many the worker may
    still run. `reports`: reports are sent now in any case.
    """
    free = int(min(slots + ahead, left)) - held
    # A few at a time, while others are ready, would cost a transaction for each of them: not before
    # half of those that could be ready have started.
    half = (slots + ahead - (held - ready)) // 2
    return 0 if ready and free <= half and not reports else max(0, free)


def smooth(rate: float, finished: int, seconds: float) -> float:
    """Return the new estimate of jobs per second after `finished` jobs in `seconds`.

    It rises at once and halves every quarter of a second, so that a worker whose jobs become slow
    soon holds only what it can run.
    """
    if seconds <= 0:
        return rate
    seen: float = finished / seconds
    kept: float = rate * 0.5 ** (seconds / 0.25)
    return max(seen, kept) if seen > rate else max(seen, kept, 0.0)


class ClaimOrder:
    """The order in which a worker claims from its queues, at most `limit` jobs from each.

    Strict: the given order. Weighted: a random order, in which a queue of weight 4 comes first four
    times as often as one of weight 1; an empty queue leaves its share to the others.
    """

    def __init__(
        self,
        shares: Sequence[tuple[str, int]],
        limit: int,
        *,
        strict: bool,
        draw: Draw = random.random,
    ) -> None:
        self._wants = [Want(queue, limit) for queue, _ in shares]
        self._exponents = [1.0 / weight for _, weight in shares]
        self._fixed = strict or len(shares) < 2
        self._draw = draw

    def wants(self) -> list[Want]:
        """Return the wants of one claim."""
        if self._fixed:
            return self._wants
        # Efraimidis and Spirakis 2006: sorting by draw ** (1 / weight) draws without replacement.
        draw = self._draw
        keys = [draw() ** exponent for exponent in self._exponents]
        order = sorted(range(len(keys)), key=keys.__getitem__, reverse=True)
        return [self._wants[number] for number in order]


class Pace:
    """Measures how fast jobs end, and so how many to hold beyond the free slots."""

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._rate = 0.0
        self._seen = elapsed(), 0

    @property
    def ahead(self) -> int:
        """How many jobs to claim ahead."""
        return prefetch(int(self._rate), 1.0)

    def measure(self, finished: int) -> None:
        """Note how many jobs have ended so far."""
        now = self._elapsed()
        then, before = self._seen
        if now - then >= 0.01:
            self._rate = smooth(self._rate, finished - before, now - then)
            self._seen = now, finished
