"""Exponential backoff for loops that retry. The backoff of jobs is in `retry`."""

from __future__ import annotations

import random

# The exponent is bounded because a float overflows at 2.0 ** 1024.
MOST_DOUBLINGS = 60


def doubled_pause(first: float, longest: float, failures: int) -> float:
    """Return the pause, in seconds, after `failures` failures in a row (1 or more)."""
    return min(longest, first * 2.0 ** min(failures - 1, MOST_DOUBLINGS))


class DoublingBackoff:
    """Pauses of `first` seconds, then twice as long each time, never above `longest`.

    With `jitter` a share of each pause is drawn at random: 0.5 waits between half of it and all.
    """

    __slots__ = ("_failures", "_first", "_jitter", "_longest")

    def __init__(self, first: float, longest: float, *, jitter: float = 0.0) -> None:
        self._first = first
        self._longest = longest
        self._jitter = jitter
        self._failures = 1

    @property
    def pause(self) -> float:
        """The coming pause, in seconds, at its longest."""
        return doubled_pause(self._first, self._longest, self._failures)

    @property
    def is_first(self) -> bool:
        """Whether no pause has been taken since the start or the last `reset`."""
        return self._failures == 1

    def next_pause(self) -> float:
        """Return how long to wait now, in seconds, and double the pause after it."""
        pause = self.pause
        self._failures += 1
        return pause * random.uniform(1 - self._jitter, 1) if self._jitter else pause  # noqa: S311 - no secret

    def reset(self) -> None:
        """Begin with the first pause again, as after a success."""
        self._failures = 1
