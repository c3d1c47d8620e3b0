"""What a scaler remembers between cycles: plain data, stored in the note of its leadership.

A scaler that is restarted, or another one that takes over, continues from it. The note is also read
by older and newer versions, so fields keep their names.
"""

from __future__ import annotations

import msgspec

from .provider import Machine


class MachineHistory(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered of a machine. Times are Unix seconds.

    `beat_at` is the last heartbeat of its agent (0: never registered), `finished` the number of
    jobs it had finished then. `missing_since`: since when the store does not know the agent.
    `failed`: its failure to start has been counted. `stop_again_at`: when to destroy it again if it
    still exists.
    """

    beat_at: float = 0.0
    finished: int = 0
    idle_since: float | None = None
    draining: bool = False
    missing_since: float | None = None
    failed: bool = False
    stop_again_at: float = 0.0


class PoolBackoff(msgspec.Struct, frozen=True):
    """Machines of a pool fail to start: how often in a row, why, and until when none is started."""

    failures: int
    until: float
    why: str


class UnansweredCreate(msgspec.Struct, frozen=True):
    """A request to create machines whose outcome is unknown."""

    pool: str
    count: int
    at: float


class ScalerState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that a scaler remembers.

    `looked_at` is the last snapshot; `awake_since`: since when agents could send heartbeats and
    snapshots had no gap. `machines` are by id, `troubles` by pool. `queues` are those that the
    agents of a pool turned out to serve. `made` are created machines that may not be listed yet,
    `unanswered` requests that may yet create some. `strays` are agents whose machine is missing,
    and since when.
    """

    looked_at: float = 0.0
    awake_since: float = 0.0
    machines: dict[str, MachineHistory] = {}
    troubles: dict[str, PoolBackoff] = {}
    queues: dict[str, tuple[str, ...]] = {}
    made: tuple[Machine, ...] = ()
    unanswered: tuple[UnansweredCreate, ...] = ()
    strays: dict[str, float] = {}


EMPTY_STATE = ScalerState()
