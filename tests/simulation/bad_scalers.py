"""Scalers with one thing wrong each, which the simulated fleet has to catch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import msgspec

from conveyor.autoscaler.agent_launch import machine_of
from conveyor.autoscaler.plan import Stop
from conveyor.autoscaler.provider import Machine, PoolSpec, Provider
from conveyor.autoscaler.reconcile import Times
from conveyor.autoscaler.scaler import Looked, Scaler
from conveyor.store.messages import Leader


class DrainsTheBusy(Scaler):
    """It looks who works, and not whether they are idle when they are told."""

    async def _carry_out(self, looked: Looked, acts: Any) -> None:
        await super()._carry_out(looked, acts)
        for worker in looked.sight.workers:
            if machine_of(worker.labels):
                await self._store.order(worker.id, "drain")


class TakesTheBusyAway(Scaler):
    """It keeps the number of machines that is right, and does not care which."""

    async def _carry_out(self, looked: Looked, acts: Any) -> None:
        await super()._carry_out(looked, acts)
        [(name, machines)] = looked.sight.machines.items() or [("cloud", ())]
        if (machines and not looked.sight.loads) or len(machines) > 1:
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

    held = True

    def __init__(self, leadership: Any) -> None:
        self.holder = leadership.holder
        self._leadership = leadership

    async def take(self, note: str | None = None) -> Leader:
        leader: Leader = await self._leadership.take(note)
        return msgspec.structs.replace(leader, holder=self.holder)

    async def keep(self) -> None:
        await self._leadership.keep()

    async def give_up(self) -> None: ...


def _always_leads(**parts: Any) -> Scaler:
    leadership: Any = AlwaysLeads(parts.pop("leadership"))
    return Scaler(leadership=leadership, **parts)


class Rash(Scaler):
    """It takes a short silence for the end of a lease, and does not make sure."""

    def __init__(self, *, times: Times, **parts: Any) -> None:
        super().__init__(times=msgspec.structs.replace(times, lease=0.5), **parts)

    async def _carry_out(self, looked: Looked, acts: Any) -> None:
        async def sure(stops: Sequence[Stop], _seen: object) -> Sequence[Stop]:
            return stops

        acts.sure = sure
        await super()._carry_out(looked, acts)


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
