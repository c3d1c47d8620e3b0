"""Blocks slots that have no job, and wakes them for jobs that are ready, a few in each turn.

A turn is one round of the event loop. Jobs that never wait would keep it in the first slot until
all of them have run: nothing else would come between, not even the claim of the next jobs.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

# How many jobs start in one turn, about: after them, slots wait for the next one.
TURN = 128


class IdleSlots:
    """The slots that wait, in their order. It belongs to one event loop.

    `ready` returns how many jobs wait for a slot. `left` is how many may still start in this turn:
    a slot counts it down for each job, and waits once it is 0.
    """

    def __init__(self, ready: Callable[[], int]) -> None:
        self._ready = ready
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_due = False
        # How many slots a turn wakes, and how many of the last ones found nothing to do. Where jobs
        # never wait, one slot runs all of a turn.
        self._at_once, self._in_vain = 1, 0
        self.left = TURN

    def wake(self, _count: int = 0) -> None:
        """Wake slots for the jobs that are ready, the first ones now."""
        if not self._is_due:
            self._begin_turn()

    async def wait(self) -> None:
        """Wait until woken."""
        loop = asyncio.get_running_loop()
        if not self.left and not self._is_due:
            self._is_due = True
            loop.call_soon(self._begin_turn)
        future = loop.create_future()
        self._waiting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if not future.cancelled():
                self._wake(1)  # it was woken before it was cancelled
            elif future in self._waiting:
                self._waiting.remove(future)
            raise
        if not self.left or not self._ready():
            self._in_vain += 1

    def _begin_turn(self) -> None:
        if 2 * self._in_vain >= self._at_once:
            self._at_once = max(1, self._at_once // 2)
        else:
            self._at_once = min(2 * self._at_once, TURN)
        self.left, self._in_vain = TURN, 0
        ready = self._ready()
        self._wake(min(self._at_once, ready))
        self._is_due = ready > self._at_once and bool(self._waiting)
        if self._is_due:
            asyncio.get_running_loop().call_soon(self._begin_turn)

    def _wake(self, count: int) -> None:
        for _ in range(min(count, len(self._waiting))):
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
