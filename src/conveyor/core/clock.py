"""Where the time comes from, so that a test can be the one who says what time it is."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time. Everything that asks what is due takes one of these."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return time.time()


def elapsed() -> float:
    """Return seconds since boot, those included in which the machine slept (a closed lid).

    `time.monotonic` stands still in that time on Linux, so a lease would seem fresh on waking.
    """
    return time.clock_gettime(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
