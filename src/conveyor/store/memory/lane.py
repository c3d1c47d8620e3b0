"""One lane: a priority queue that is cheap if jobs arrive in the order in which they leave."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush

# (minus the priority, run_at, seq, id): the smallest is first.
Place = tuple[float, float, int, str]
# A place without the priority.
Age = tuple[float, int, str]
# How many outdated ages are kept, in addition to one for each place, before they are rebuilt.
OUTDATED = 100


class Lane:
    """A priority queue. Places pushed in order, as nearly all are, need no heap."""

    __slots__ = ("_ages", "_in_order", "_others")

    def __init__(self) -> None:
        self._in_order: deque[Place] = deque()
        self._others: list[Place] = []
        self._ages: list[Age] | None = None

    def __iter__(self) -> Iterator[Place]:
        yield from self._in_order
        yield from self._others

    def push(self, place: Place) -> None:
        """Add a place."""
        if not self._in_order or self._in_order[-1] <= place:
            self._in_order.append(place)
        else:
            heappush(self._others, place)
        if self._ages is not None:
            heappush(self._ages, place[1:])
            if len(self._ages) > 2 * (len(self._in_order) + len(self._others)) + OUTDATED:
                self._ages = None  # `oldest` has not been called for long

    def head(self) -> Place | None:
        """Return the first place."""
        if self._others and (not self._in_order or self._others[0] < self._in_order[0]):
            return self._others[0]
        return self._in_order[0] if self._in_order else None

    def pop(self) -> Place | None:
        """Remove and return the first place."""
        if self._others and (not self._in_order or self._others[0] < self._in_order[0]):
            return heappop(self._others)
        return self._in_order.popleft() if self._in_order else None

    def remove(self, place: Place) -> None:
        """Remove a place. It takes time in proportion to the number of places."""
        if place in self._others:
            self._others.remove(place)
            heapify(self._others)
        elif place in self._in_order:
            self._in_order.remove(place)
        self._ages = None

    def oldest(self, stands: Callable[[Age], bool]) -> Age | None:
        """Return the valid age that has been due the longest; `stands` says which are valid.

        If all places have one priority and were pushed in order, it is the first. Otherwise this
        builds a heap of the ages at the first call, because few lanes are ever asked.
        """
        line = self._in_order
        if not self._others and (not line or line[0][0] == line[-1][0]):
            while line and not stands(line[0][1:]):
                line.popleft()
            return line[0][1:] if line else None
        ages = self._ages
        if ages is None:
            ages = self._ages = [place[1:] for place in self]
            heapify(ages)
        while ages and not stands(ages[0]):
            heappop(ages)
        return ages[0] if ages else None
