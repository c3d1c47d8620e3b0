"""Scalers, a server, machines and the agents on them, in virtual time and with every fault.

The model: the world of world.py, with agents that come with machines. One of two scalers, each the
real `Scaler` over a wire of its own, acts on a simulated cloud (cloud.py): calls to it are late,
lost, or done and not answered; machines boot late, never, or fail; ends take long. Chaos also kills
and stops scalers, has machines fail under their agents, and takes the server away for a while:
nobody reaches the store then. A killed scaler is started anew. After the faults everything must
come to its end: each job, and each machine.

What is promised of machines is judged when it happens: never more of a kind than its maximum, where
those that failed do not count; none made by a scaler while another leads; none taken away, and no
agent drained, that holds a job under a good lease; no plain one before there is a plain job.

Not modelled, beside what world.py says: the store's clock is not set; lists that are behind (what a
list says was true while it was asked for).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from clients import Client
from cloud import DEADLINE, Box, Cloud, CloudApi
from invariant_checker import Witness
from loop import Process
from runs import LEASE
from wire import Wire
from workers import OPTIONS, Station
from world import FREEZES, World

from conveyor.autoscaler.elector import LEADER_TTL, Elector
from conveyor.autoscaler.intervals import Intervals
from conveyor.autoscaler.machine_tracker import STOP_AGAIN_AFTER
from conveyor.autoscaler.policy import Policy, Pool
from conveyor.autoscaler.pool_backoff import MAX_BACKOFF
from conveyor.autoscaler.provider import PoolSpec
from conveyor.autoscaler.scaler import Scaler
from conveyor.core.job import NewJob, State
from conveyor.system.process_identity import worker_info

CHAOS = 150.0
# After the faults: a pool whose starts failed is tried again after `MAX_BACKOFF` at the latest.
CALM = MAX_BACKOFF + 300.0
IDLE_FOR = 15.0
# For the last machines to go: an end that was not answered is asked for again.
GOING = IDLE_FOR + LEADER_TTL + 2 * STOP_AGAIN_AFTER + DEADLINE
INTERVALS = Intervals(every=3.0, lease=LEASE, beat=LEASE / 4)
GPU = "gpu"


class ScalerStation:
    """One life of a scaler: its process, its lines to the store and to the cloud."""

    def __init__(self, fleet: FleetWorld, name: str) -> None:
        self.fleet, self.name = fleet, name
        self.process = Process(name)
        self.wire = Wire(fleet, name, self.process)
        self.process.context.run(self._start)

    def _start(self) -> None:
        fleet = self.fleet
        store: Any = self.wire
        self.scaler = fleet.make_scaler(
            store=store,
            providers={"cloud": CloudApi(fleet, self)},
            policy=fleet.policy,
            elector=Elector(store, fleet.name, self.name, elapsed=lambda: fleet.loop.now),
            intervals=INTERVALS,
            elapsed=lambda: fleet.loop.now,
        )
        context = self.process.context.copy()
        self.task = fleet.loop.create_task(self.scaler.run(), context=context)


class FleetClient(Client):
    """A program some of whose jobs require a label."""

    def _make(self) -> NewJob:
        job = super()._make()
        fleet = self._world
        assert isinstance(fleet, FleetWorld)
        if not fleet.plain_jobs or fleet.rng.random() < 0.3:
            return msgspec.structs.replace(
                job, options=msgspec.structs.replace(job.options, requires=(GPU,))
            )
        fleet.plain_wanted = True
        return job


class FleetWitness(Witness):
    """Sees in addition whom a scaler tells to drain."""

    def carry_out(self, wire: Wire, operation: str, args: Any, more: Any) -> Any:
        if operation != "order":
            return super().carry_out(wire, operation, args, more)
        running = {job.worker for job in self.jobs() if job.state is State.RUNNING}
        answer = super().carry_out(wire, operation, args, more)
        if args[1] == "drain" and answer is True and args[0] in running:
            self._world.broken("drained", f"{args[0]} was drained while it held a job")
        return answer


class FleetWorld(World):
    """Everything there is, machines included."""

    name = "scaler"
    chaos = CHAOS
    calmness = (4.0, 10.0, 25.0)

    def __init__(self, seed: int, *, scaler: Callable[..., Scaler] = Scaler, **how: Any) -> None:
        super().__init__(seed, **how)
        self.witness = FleetWitness(self)
        self.make_scaler = scaler
        self.most = {"plain": self.rng.choice((1, 2, 4)), "gpu": self.rng.choice((1, 2))}
        self.policy = Policy(pools=tuple(self._pool(name) for name in self.most))
        # Some have nothing but jobs that require a label.
        self.plain_jobs = self.rng.random() < 0.8
        self.plain_wanted = False
        self.cloud = Cloud(self)
        self.served = True
        self.scalers: dict[str, ScalerStation] = {}
        self._scalers_made = 0

    def processes(self) -> list[Process]:
        return [*super().processes(), *(each.process for each in self.scalers.values())]

    def lend(self, box: Box) -> Station:
        """Start the agent of a machine."""
        self._lives += 1
        name = f"w{self._lives}"
        self.note("STARTS", name, box.id)
        labels = frozenset({*box.pool.labels, f"machine={box.id}"})
        station = self.stations[name] = Station(self, name, labels)
        if not self.served:
            station.cut(there=True, back=True)
        return station

    # -- the story -----------------------------------------------------------------------------

    async def main(self) -> None:
        serving = self.loop.create_task(self._serve())
        for _ in range(2):
            self._scale()
        watching = [self.loop.create_task(each()) for each in (self._watch, self._watch_scalers)]
        clients = [FleetClient(self, f"client{n}") for n in range(3)]
        working = [self.loop.create_task(self._burst(each)) for each in clients]
        await self._chaos()
        self._calm()
        await asyncio.wait(working)
        await self._until(self._all_final, CALM)
        for job in self.witness.jobs():
            if not job.is_final:
                self.broken("stuck", f"{job.id} is {job.state} for ever")
        await self._until(lambda: not self.cloud.billed(), GOING)
        for box in self.cloud.billed():
            self.broken("forgotten", f"{box.id} is {box.state} for ever")
        for client in clients:
            client.judge()
        for task in (serving, *watching):
            task.cancel()

    async def _burst(self, client: Client) -> None:
        await asyncio.sleep(self.rng.uniform(0.0, CHAOS * 0.7))
        await client.run()

    async def _until(self, done: Callable[[], bool], seconds: float) -> None:
        ends = self.loop.now + seconds
        while self.loop.now < ends and not done():  # noqa: ASYNC110 - time is not real
            await asyncio.sleep(0.5)

    async def _serve(self) -> None:
        """Stand for the server: it sends heartbeats, and does the maintenance."""
        wire = Wire(self, "server")
        # Asked once: it reads /proc, and is the same but for the time.
        info = worker_info("server", now=self.clock.now(), slots=0)
        while True:
            if self.served:
                self.store.beat(msgspec.structs.replace(info, beat_at=self.clock.now())).result()
                for operation in ("stage", "rescue"):
                    self.witness.carry_out(wire, operation, (), {"limit": 100})
            await asyncio.sleep(LEASE / 4)

    async def _watch_scalers(self) -> None:
        while True:
            await asyncio.sleep(0.25)
            for each in self.scalers.values():
                if each.task.done() and not each.process.gone:
                    self.broken("bug", f"{each.name} ended by {each.task.exception()!r}")
                    each.process.gone = True

    def _pool(self, name: str) -> Pool:
        labels = (f"{GPU}!only",) if name == "gpu" else ()
        spec = PoolSpec(name=name, slots=OPTIONS.slots, labels=labels, provider="cloud")
        limit = self.most[name]
        return Pool(spec=spec, max=limit, idle_for=IDLE_FOR, boot_deadline=DEADLINE)

    def _scale(self) -> None:
        self._scalers_made += 1
        name = f"scaler{self._scalers_made}"
        self.note("STARTS", name)
        self.scalers[name] = ScalerStation(self, name)

    # -- faults --------------------------------------------------------------------------------

    def _faults(self) -> Sequence[Callable[[Any], None]]:
        return (self._crash, self._freeze, self._cut, self._drain, *self._scaler_faults())

    def _scaler_faults(self) -> Sequence[Callable[[Any], None]]:
        return (self._kill_scaler, self._stop_scaler, self._cut_scaler, self._no_server)

    def _victims(self, fault: Callable[[Any], None]) -> Sequence[Any]:
        if not self.served:
            return []
        if fault not in self._scaler_faults():
            return super()._victims(fault)
        return [
            each
            for each in self.scalers.values()
            if not each.process.gone and each.name not in self._busy
        ]

    def _crash(self, station: Station) -> None:
        station.crash()
        self.cloud.die(station)

    def _drain(self, station: Station) -> None:
        station.drain(self.rng.choice((0.0, 4.0)), 1.0)
        self._busy.add(station.name)

    def _kill_scaler(self, scaler: Any) -> None:
        self.note("CRASH", scaler.name)
        scaler.process.gone = True
        self.later(self.rng.uniform(0.2, 20.0), self._scale)

    def _stop_scaler(self, scaler: Any) -> None:
        self.note("STOPPED", scaler.name)
        self.loop.freeze(scaler.process, lid=False)
        self._busy.add(scaler.name)
        self.later(
            self.rng.choice((3.0, LEADER_TTL * 0.9, LEADER_TTL * 1.5)),
            self._continue_scaler,
            scaler,
        )

    def _continue_scaler(self, scaler: Any) -> None:
        self._busy.discard(scaler.name)
        if not scaler.process.gone:
            self.note("GOES ON", scaler.name)
            self.loop.thaw(scaler.process)

    def _cut_scaler(self, scaler: Any) -> None:
        there, back = self.rng.choice(((True, True), (True, False), (False, True)))
        self.note("CUT", scaler.name)
        scaler.wire.cut(there=there, back=back)
        self._busy.add(scaler.name)
        self.later(self.rng.choice((*FREEZES, LEADER_TTL * 1.5)), self._mend_scaler, scaler)

    def _mend_scaler(self, scaler: Any) -> None:
        self._busy.discard(scaler.name)
        if self.served:
            self.note("MENDED", scaler.name)
            scaler.wire.cut(there=False, back=False)

    def _no_server(self, _: Any) -> None:
        """Take the server away: nobody reaches the store.

        Not while an agent leaves: it would have nobody to tell how its jobs ended, and may.
        """
        if any(each.leave_by is not None for each in self._up()):
            return
        seconds = self.rng.choice((1.0, LEASE, 3 * LEASE, 30.0))
        self.note("NO SERVER", seconds)
        self.served = False
        for station in self._up():
            station.cut(there=True, back=True)
        for scaler in self.scalers.values():
            scaler.wire.cut(there=True, back=True)
        self.later(seconds, self._serve_again)

    def _serve_again(self) -> None:
        self.note("SERVER")
        self.served = True
        for station in self._up():
            if not station.process.frozen:
                station.mend()
        for scaler in self.scalers.values():
            scaler.wire.cut(there=False, back=False)

    def _mend(self, station: Station) -> None:
        self._busy.discard(station.name)
        if self.served:
            station.mend()

    def _thaw(self, station: Station, seconds: float) -> None:
        super()._thaw(station, seconds)
        if station.up and self.served:
            station.mend()

    def _calm(self) -> None:
        self.note("CALM")
        self.badness = 0.0
