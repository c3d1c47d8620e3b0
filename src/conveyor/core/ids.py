"""Ids of new jobs: UUIDv7 (RFC 9562), which sort by creation time."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable


class IdMaker:
    """Makes UUIDv7 strings that grow strictly within a process, even within a millisecond."""

    def __init__(self, random_bits: Callable[[int], int] | None = None) -> None:
        # Ids are not secret: a seeded generator is 3 times cheaper than os.urandom.
        self._bits = random_bits or random.Random(os.urandom(16)).getrandbits  # noqa: S311 - see above
        self._last = 0
        self._lock = threading.Lock()

    def make(self, now: float) -> str:
        """Return a new id for the time `now`, in Unix seconds (millisecond precision is kept)."""
        with self._lock:
            # 48 bits of milliseconds and 12 bits of counter: RFC 9562, section 6.2, method 1.
            tick = max(int(now * 1000) << 12, self._last + 1)
            self._last = tick
        head, tail = f"{tick:015x}", f"{self._bits(62) | 1 << 63:016x}"
        return f"{head[:8]}-{head[8:12]}-7{head[12:]}-{tail[:4]}-{tail[4:]}"
