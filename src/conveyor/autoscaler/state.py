"""What a scaler remembers from look to look: plain data that outlives it in its store.

It stands in the note of the leadership, so that a scaler which was started anew, or another one
that takes over, goes on where the last one stopped.
"""

from __future__ import annotations

import msgspec

from .provider import Machine


class Seen(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was seen of a machine. Times are Unix seconds.

    `beat_at`: when its agent was heard last; 0: never. `finished`: how much it had done by then.
    `missing_since`: since when it is known no more. `failed`: that it did not come was counted.
    `stop_again_at`: when it may be taken away once more, if it is still there.
    """

    beat_at: float = 0.0
    finished: int = 0
    idle_since: float | None = None
    draining: bool = False
    missing_since: float | None = None
    failed: bool = False
    stop_again_at: float = 0.0


class Trouble(msgspec.Struct, frozen=True):
    """Machines of a pool do not come: how often in a row, why, and until when none is started."""

    failures: int
    until: float
    why: str


class Unanswered(msgspec.Struct, frozen=True):
    """So many machines of a pool were asked for, and nobody knows whether they will be there."""

    pool: str
    count: int
    at: float


class Memory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that is remembered.

    `looked_at`: the last look. `awake_since`: since when agents could be heard without a gap.
    `machines` by id, `troubles` by pool. `queues`: what the agents of a pool turned out to serve.
    `made`: machines that were made and may not be listed yet. `unanswered`: those that were asked
    for and may yet be made. `strays`: agents whose machine is
    not there, and since when.
    """

    looked_at: float = 0.0
    awake_since: float = 0.0
    machines: dict[str, Seen] = {}
    troubles: dict[str, Trouble] = {}
    queues: dict[str, tuple[str, ...]] = {}
    made: tuple[Machine, ...] = ()
    unanswered: tuple[Unanswered, ...] = ()
    strays: dict[str, float] = {}


NOTHING = Memory()
