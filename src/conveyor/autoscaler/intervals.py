"""After how long a silent agent or a gap between snapshots counts."""

from __future__ import annotations

import msgspec


class Intervals(msgspec.Struct, frozen=True, kw_only=True):
    """The scaler's interval, the agents' lease and the interval of their heartbeats, in seconds."""

    every: float = 10.0
    lease: float = 60.0
    beat: float = 5.0

    @property
    def max_gap(self) -> float:
        """Maximum gap between snapshots; silence during a longer gap proves nothing."""
        return max(3 * self.every, self.lease / 2)

    @property
    def unknown_grace(self) -> float:
        """How long an agent may be unknown to the store before it counts as having left.

        A new store learns of an agent only from the agent's next heartbeat.
        """
        return 3 * self.beat
