"""What a scaler decides to do, each part with its reason in words."""

from __future__ import annotations

import msgspec


class Demand(msgspec.Struct, frozen=True):
    """So many jobs wait that require the same labels, on the same queue ("": on any)."""

    count: int
    requires: frozenset[str] = frozenset()
    queue: str = ""


class Start(msgspec.Struct, frozen=True):
    """Make so many machines of a pool."""

    pool: str
    count: int
    why: str


class Drain(msgspec.Struct, frozen=True):
    """Let an idle agent claim nothing more and end; only if it is idle still when it is asked."""

    machine: str
    worker: str
    why: str


class Stop(msgspec.Struct, frozen=True):
    """Take a machine away. No job runs on it that anybody waits for.

    `worker` is a silent agent on it, which may come back in this very moment: it is to claim
    nothing any more first.
    """

    machine: str
    why: str
    worker: str = ""


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How a pool stands, in machines. `wanted` is what it will have once the plan is carried out.

    `other` are lost, quiet, stopping and errored ones: they may be billed and serve nothing.
    """

    pool: str
    wanted: int
    booting: int = 0
    idle: int = 0
    busy: int = 0
    draining: int = 0
    other: int = 0

    @property
    def have(self) -> int:
        """How many machines there are."""
        return self.booting + self.idle + self.busy + self.draining + self.other


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now. `held` says what is wanted and not done, and what stands against it."""

    starts: tuple[Start, ...] = ()
    drains: tuple[Drain, ...] = ()
    stops: tuple[Stop, ...] = ()
    held: tuple[str, ...] = ()
    pools: tuple[Tally, ...] = ()
