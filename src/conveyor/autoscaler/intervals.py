"""The intervals that decide what silence and gaps mean."""

from __future__ import annotations

import msgspec


class Intervals(msgspec.Struct, frozen=True, kw_only=True):
    """The scaler's interval, the agents' lease and the interval of their heartbeats, in seconds."""

    every: float = 10.0
    lease: float = 60.0
    beat: float = 5.0

    @property
    def max_gap(self) -> float:
        """After this long without a snapshot, nothing is known about the time between."""
        return max(3 * self.every, self.lease / 2)

    @property
    def unknown_grace(self) -> float:
        """How long an agent may be unknown to the store before it counts as having left.

        A store that is new hears of an agent only at its next heartbeat.
        """
        return 3 * self.beat
