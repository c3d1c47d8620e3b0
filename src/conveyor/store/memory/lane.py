"""The waiting line of one lane: sorted, and cheap where jobs come in the order they will leave."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush

# (minus the priority, when it may run, the order of acceptance, id): smaller ones go first.
Place = tuple[float, float, int, str]


class Lane:
    """A priority queue. What is pushed in order costs no heap: that is nearly everything."""

    __slots__ = ("_in_order", "_others")

    def __init__(self) -> None:
        self._in_order: deque[Place] = deque()
        self._others: list[Place] = []

    def __iter__(self) -> Iterator[Place]:
        yield from self._in_order
        yield from self._others

    def push(self, place: Place) -> None:
        """Put a place where it belongs."""
        if not self._in_order or self._in_order[-1] <= place:
            self._in_order.append(place)
        else:
            heappush(self._others, place)

    def head(self) -> Place | None:
        """Return the first place."""
        if self._others and (not self._in_order or self._others[0] < self._in_order[0]):
            return self._others[0]
        return self._in_order[0] if self._in_order else None

    def pop(self) -> Place | None:
        """Take the first place."""
        if self._others and (not self._in_order or self._others[0] < self._in_order[0]):
            return heappop(self._others)
        return self._in_order.popleft() if self._in_order else None
