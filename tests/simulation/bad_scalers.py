"""Scalers with one thing wrong each, which the simulated fleet has to catch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import msgspec

from conveyor.autoscaler.agent_launch import machine_of
from conveyor.autoscaler.intervals import Intervals
from conveyor.autoscaler.plan import StopMachine
from conveyor.autoscaler.provider import Machine, PoolSpec, Provider
from conveyor.autoscaler.scaler import Cycle, Scaler
from conveyor.store.messages import Leader


class DrainsTheBusy(Scaler):
    """It looks who works, and not whether they are idle when they are told."""

    async def _carry_out(self, cycle: Cycle, executor: Any) -> None:
        await super()._carry_out(cycle, executor)
        for worker in cycle.snapshot.workers:
            if machine_of(worker.labels):
                await self._store.order(worker.id, "drain")


class TakesTheBusyAway(Scaler):
    """It keeps the number of machines that is right, and does not care which."""

    async def _carry_out(self, cycle: Cycle, executor: Any) -> None:
        await super()._carry_out(cycle, executor)
        [(name, machines)] = cycle.snapshot.machines.items() or [("cloud", ())]
        if (machines and not cycle.snapshot.loads) or len(machines) > 1:
            await self._providers[name].destroy([machines[0].id])


class Seeing:
    """A provider of which not everything is seen."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self.known: set[str] = set()
        self.close = provider.close
        self.destroy: Callable[[Collection[str]], Any] = provider.destroy

    async def create(self, pool: PoolSpec, count: int) -> Sequence[Machine]:
        made = await self._provider.create(pool, count)
        self.known |= {each.id for each in made}
        return made

    async def list(self) -> Sequence[Machine]:
        return [each for each in await self._provider.list() if self.sees(each)]

    def sees(self, machine: Machine) -> bool:
        return machine.id in self.known


class SeesWhatRuns(Seeing):
    """One that does not see what still boots."""

    def sees(self, machine: Machine) -> bool:
        return machine.state != "starting"


def _behind(kind: type[Seeing]) -> Callable[..., Scaler]:
    def make(**parts: Any) -> Scaler:
        providers = {name: kind(each) for name, each in parts.pop("providers").items()}
        return Scaler(providers=providers, **parts)

    return make


class AlwaysLeads:
    """Thinks that it leads whoever does."""

    is_leader = True

    def __init__(self, elector: Any) -> None:
        self.holder = elector.holder
        self._elector = elector

    async def acquire(self, note: str | None = None) -> Leader:
        leader: Leader = await self._elector.acquire(note)
        return msgspec.structs.replace(leader, holder=self.holder)

    async def renew_until_cancelled(self) -> None:
        await self._elector.renew_until_cancelled()

    async def resign(self) -> None: ...


def _always_leads(**parts: Any) -> Scaler:
    elector: Any = AlwaysLeads(parts.pop("elector"))
    return Scaler(elector=elector, **parts)


class Rash(Scaler):
    """It takes a short silence for the end of a lease, and does not make sure."""

    def __init__(self, *, intervals: Intervals, **parts: Any) -> None:
        super().__init__(intervals=msgspec.structs.replace(intervals, lease=0.5), **parts)

    async def _carry_out(self, cycle: Cycle, executor: Any) -> None:
        async def accept_all(stops: Sequence[StopMachine], _seen: object) -> Sequence[StopMachine]:
            return stops

        executor.recheck_stops = accept_all
        await super()._carry_out(cycle, executor)


class BadScaler(NamedTuple):
    """What is wrong, the rule that it breaks, and how it is made."""

    what: str
    breaks: str
    make: Callable[..., Scaler]


BAD_SCALERS = (
    BadScaler("the busy are drained", "drained", DrainsTheBusy),
    BadScaler("the busy are taken away", "killed", TakesTheBusyAway),
    BadScaler("what was made and not answered is not known", "forgotten", _behind(Seeing)),
    BadScaler("what boots does not count", "maximum", _behind(SeesWhatRuns)),
    BadScaler("it acts though another leads", "leader", _always_leads),
    BadScaler("a short silence is taken for the end of a lease", "killed", Rash),
)
