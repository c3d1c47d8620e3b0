"""What a scaler decides to do, each part with its reason."""

from __future__ import annotations

import msgspec


class Demand(msgspec.Struct, frozen=True):
    """Waiting jobs that require the same labels, on the same queue ("": any)."""

    count: int
    requires: frozenset[str] = frozenset()
    queue: str = ""


class StartMachines(msgspec.Struct, frozen=True):
    """Create machines of a pool."""

    pool: str
    count: int
    why: str


class DrainAgent(msgspec.Struct, frozen=True):
    """Drain an agent, only if the store still knows it as idle."""

    machine: str
    worker: str
    why: str


class StopMachine(msgspec.Struct, frozen=True):
    """Destroy a machine on which no job runs under a valid lease.

    `worker` is a silent agent on it. It could come back at any moment, so it must be drained first.
    """

    machine: str
    why: str
    worker: str = ""


class PoolCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The machines of a pool. `wanted` is their number after the plan is carried out.

    `other` are lost, quiet, stopping and errored ones: they may be billed and run no new jobs.
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
        """The number of existing machines."""
        return self.booting + self.idle + self.busy + self.draining + self.other


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now. `held` is what is needed but not done, with the limit that prevents it."""

    starts: tuple[StartMachines, ...] = ()
    drains: tuple[DrainAgent, ...] = ()
    stops: tuple[StopMachine, ...] = ()
    held: tuple[str, ...] = ()
    pools: tuple[PoolCounts, ...] = ()
