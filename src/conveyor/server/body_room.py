"""Bounds the memory that request bodies take together.

Each body has a limit of its own, but thousands of clients may send one at the same time, slowly.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Self

# Bodies up to this size are not counted: a connection buffers as much anyway.
FREE = 64 << 10
# Whatever the maximum size of a body is: files are sent in pieces of 1 MiB.
SMALLEST = 1 << 20
# How many bodies of the maximum size there is room for: in all, and for one token.
BODIES, BODIES_OF_ONE = 8, 4
# So many requests can wait for room.
MAX_WAITING = 100


class BodyRoom:
    """Room for the bodies of all requests. For one event loop.

    `limit` is the maximum size of one body, in bytes. A body waits for room for `wait` seconds.
    """

    def __init__(self, limit: int, *, wait: float) -> None:
        limit = max(limit, SMALLEST)
        self._free = BODIES * limit
        self._limit_of_one = BODIES_OF_ONE * limit
        self._wait = wait
        self._held: Counter[str] = Counter()
        self._waiting = 0
        self._changed = asyncio.Event()

    async def take(self, owner: str, size: int) -> bool:
        """Take room, once there is some; return False if that takes too long."""
        if not self._fits(owner, size) and not await self._wait_for_room(owner, size):
            return False
        self._free -= size
        self._held[owner] += size
        return True

    def give_back(self, owner: str, size: int) -> None:
        """Give back what was taken."""
        self._free += size
        self._held[owner] -= size
        if not self._held[owner]:
            del self._held[owner]
        self._changed.set()
        self._changed = asyncio.Event()

    def _fits(self, owner: str, size: int) -> bool:
        return size <= self._free and self._held[owner] + size <= self._limit_of_one

    async def _wait_for_room(self, owner: str, size: int) -> bool:
        if self._waiting >= MAX_WAITING:
            return False
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait):
                while not self._fits(owner, size):
                    await self._changed.wait()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
        return True


class BodySpace:
    """What the body of one request takes of the room. On exit, it is given back."""

    def __init__(self, room: BodyRoom, owner: str) -> None:
        self._room = room
        self._owner = owner
        self._held = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._held:
            self._room.give_back(self._owner, self._held)
            self._held = 0

    async def reach(self, size: int) -> bool:
        """Have room for a body of at least this size; return False if there is none."""
        if size <= max(self._held, FREE):
            return True
        more = size - self._held
        taken = await self._room.take(self._owner, more)
        if taken:
            self._held += more
        return taken
