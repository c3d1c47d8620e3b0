"""Ids of new jobs: UUIDv7 (RFC 9562), which sort by creation time."""

from __future__ import annotations

import os
import struct
import threading
from hashlib import sha256

# How many random numbers are drawn at once: a call of the system for each is 8 times as expensive.
DRAWN = 512
RANDOM_BITS = (1 << 62) - 1


class IdMaker:
    """Makes UUIDv7 strings that grow strictly within a process, even within a millisecond.

    Nobody can guess them from others: who knew an id in advance could take it.
    """

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._pid = os.getpid()
        self._last = 0
        self._lock = threading.Lock()

    def make(self, now: float) -> str:
        """Return a new id for the time `now`, in Unix seconds (millisecond precision is kept)."""
        with self._lock:
            if os.getpid() != self._pid:  # a fork must not repeat the numbers of its parent
                self._numbers, self._pid = [], os.getpid()
            if not self._numbers:
                self._numbers = list(struct.unpack(f"{DRAWN}Q", os.urandom(8 * DRAWN)))
            # 48 bits of milliseconds and 12 bits of counter: RFC 9562, section 6.2, method 1.
            tick = max(int(now * 1000) << 12, self._last + 1)
            self._last = tick
            bits = self._numbers.pop() & RANDOM_BITS
        head, tail = f"{tick:015x}", f"{bits | 1 << 63:016x}"
        return f"{head[:8]}-{head[8:12]}-7{head[12:]}-{tail[:4]}-{tail[4:]}"


def derived_id(*parts: str) -> str:
    """Return the id that follows from these parts: a UUIDv8 (RFC 9562)."""
    digest = sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()
    variant = f"{int(digest[16], 16) & 3 | 8:x}"
    return f"{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"
