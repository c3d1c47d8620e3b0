"""For tests of programs that use Conveyor: a clock that tests control."""

from __future__ import annotations


class FakeClock:
    """A clock that moves only by `advance`: `Conveyor("memory:", clock=FakeClock())`."""

    def __init__(self, start: float = 1_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        """Return the time, in Unix seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock forward by `seconds`."""
        self._now += seconds
