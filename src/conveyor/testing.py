"""For tests of programs that use Conveyor: a clock that stands still until it is told to go on."""

from __future__ import annotations


class FakeClock:
    """A clock that only `advance` moves: `Conveyor("memory:", clock=FakeClock())`."""

    def __init__(self, start: float = 1_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        """Return the time, in Unix seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self._now += seconds
