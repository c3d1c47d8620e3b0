"""Workers, clients and one store in virtual time, with every fault a seed can draw.

The model. One seed gives one history, to the last callback. Two or three workers, each the real
`Worker` (dispatcher, maintenance, lifecycle, coroutine runner; only its clock, its crash journal
and its child processes are simulated), share the operations of the real memory store over
simulated wires: requests are late, lost before they are carried out, or answered into the void;
hints are late, lost and doubled; a party that hears nothing for two seconds is told that the
store is unavailable, and what it had asked may still be carried out later. Clients enqueue, look
and cancel, through the real `Job`. Chaos crashes workers (their death is known at once, or only by
their leases), stops them (SIGSTOP: their children go on), closes the lid of their machine, cuts
lines in one direction or both, cuts all of them, drains workers and signals again, has an operator
remove them by force while their jobs run, and sets the store's clock forward and back. `Runs` knows
the truth about the jobs' code, `Witness` sees each change of the store; what is wrong is noted the
moment it happens. After a while the faults cease, and then everything must come to its end.

Not modelled: SQLite, its files and doorbells (one store process, no restart); threads and
commands; the sidecar process and jobs that hold the GIL; real signals, process trees and escapees;
bounded queues, unique keys and schedules; two workers in one process; clocks that run at
different speeds; answers that are wrong rather than late. What one party asks is carried out in
the order of asking: a wire does not reorder. Code does not run between two awaits of the same
worker, so no data race is found here.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import hashlib
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jobs
from clients import Client
from invariant_checker import Witness
from loop import Process, VirtualLoop
from runs import LEASE, Runs
from wire import Wire
from workers import Parts, Station

from conveyor.core.job import WorkerInfo
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Dismissed

CHAOS = 40.0
# After the faults: leases of a clock set back, retries, snoozes, backed-off feeds.
CALM = 300.0
FREEZES = (0.3, LEASE * 0.5, LEASE * 0.95, LEASE * 1.5, LEASE * 3)
JUMPS = (0.5, LEASE * 0.5, LEASE * 1.5, 30.0)
# A drained worker may be waiting to ask a store that was not there, at most this long.
LONGEST_PAUSE = 1.0
# A history in which so much is wrong need not be told to its end.
ENOUGH = 100


class WallClock:
    """The store's clock: the loop's time, set forward and back now and then."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.ahead = 1_000_000.0

    def now(self) -> float:
        return self._loop.now + self.ahead


class World:
    """Everything there is in one simulation."""

    # For how long there are faults, and how far apart they are on average, of which a seed draws.
    chaos = CHAOS
    calmness = (2.0, 4.0, 10.0)

    def __init__(
        self,
        seed: int,
        *,
        parts: type[Parts] = Parts,
        store: Callable[..., MemoryStore] = MemoryStore,
    ) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.loop = VirtualLoop(self.rng)
        self.context = contextvars.Context()
        self.clock = WallClock(self.loop)
        self.store = store(self.clock, self.rng.random)
        self.parts = parts
        self.over = False
        self.badness = self.rng.choice((0.0, 0.01, 0.03))
        self.jumped_at = -1e9
        self.trace: list[tuple[Any, ...]] = []
        self.violations: list[tuple[float, str, str]] = []
        self.stations: dict[str, Station] = {}
        self.boards: dict[str, dict[int, str]] = {}
        self.dead: set[str] = set()
        self.runs = Runs(self)
        self.witness = Witness(self)
        self.operator = Wire(self, "operator")
        self.tasks = jobs.tasks(self)
        self._lives = 0
        self._ids = 0
        self._told: set[tuple[str, str]] = set()
        self._busy: set[str] = set()

    def new_id(self) -> str:
        """Return an id for a new job."""
        self._ids += 1
        return f"j{self._ids}"

    def note(self, *facts: Any) -> None:
        """Write a line of history."""
        if not self.over:
            self.trace.append((round(self.loop.now, 6), *facts))

    def broken(self, rule: str, text: str) -> None:
        """Note that something is wrong, once for each rule and text."""
        if self.over or (rule, text) in self._told:
            return
        self._told.add((rule, text))
        self.note("BROKEN", rule, text)
        self.violations.append((self.loop.now, rule, text))
        if len(self.violations) == ENOUGH:
            self.loop.stop()

    def rules_broken(self) -> set[str]:
        return {rule for _, rule, _ in self.violations}

    def knows_dead(self, worker: WorkerInfo, *_: str) -> bool:
        """Say what /proc would say: whether a worker of the same machine is surely dead."""
        return worker.id in self.dead

    def board(self, *where: str) -> frozenset[str] | None:
        """Return what a worker's board says; `where` ends with its name."""
        noted = self.boards.get(where[-1])
        return None if noted is None else frozenset(noted.values())

    def processes(self) -> list[Process]:
        """Return every process that there is or was."""
        return [each for one in self.stations.values() for each in (one.process, one.children)]

    def digest(self) -> str:
        return hashlib.sha256(repr(self.trace).encode()).hexdigest()

    # -- the story -----------------------------------------------------------------------------

    async def main(self) -> None:
        for _ in range(self.rng.choice((2, 3))):
            self._start()
        watching = self.loop.create_task(self._watch())
        clients = [Client(self, f"client{n}") for n in range(2)]
        working = [self.loop.create_task(client.run()) for client in clients]
        await self._chaos()
        self._calm()
        await asyncio.wait(working)
        ends = self.loop.now + CALM
        while self.loop.now < ends and not self._all_final():  # noqa: ASYNC110 - time is not real
            await asyncio.sleep(0.5)
        for job in self.witness.jobs():
            if not job.is_final:
                self.broken("stuck", f"{job.id} is {job.state} for ever")
        await self._leave()
        for client in clients:
            client.judge()
        watching.cancel()

    def _start(self) -> None:
        self._lives += 1
        name = f"w{self._lives}"
        self.note("STARTS", name)
        self.stations[name] = Station(self, name)

    def _up(self) -> list[Station]:
        return [each for each in self.stations.values() if each.up]

    def _all_final(self) -> bool:
        return all(job.is_final for job in self.witness.jobs())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.25)
            self.runs.check()
            for station in self._up():
                if station.task is not None and station.task.done():
                    self.broken("bug", f"{station.name} ended by {station.task.exception()!r}")
                    station.crash()
                station.look_for_order()
                if station.leave_by is not None and not station.process.frozen:
                    late = self.loop.now - max(station.leave_by, station.able_at() + LONGEST_PAUSE)
                    if late > 2.0:
                        self.broken("drain", f"{station.name} does not leave")

    async def _leave(self) -> None:
        """Drain every worker that is left: each must go."""
        for station in self._up():
            station.drain(1.0, jobs.LONGEST_GRACE)
        ends = self.loop.now + 60.0
        while self._up() and self.loop.now < ends:  # noqa: ASYNC110 - time is not real
            await asyncio.sleep(0.5)

    # -- faults --------------------------------------------------------------------------------

    def _faults(self) -> Sequence[Callable[[Any], None]]:
        return (
            self._crash,
            self._crash,
            self._freeze,
            self._freeze,
            self._cut,
            self._cut,
            self._cut_all,
            self._drain,
            self._drain,
            self._dismiss,
            self._dismiss,
            self._jump,
        )

    def _victims(self, _fault: Callable[[Any], None]) -> Sequence[Any]:
        """Return what a fault may befall now."""
        return [each for each in self._up() if each.name not in self._busy]

    async def _chaos(self) -> None:
        rng, faults = self.rng, self._faults()
        calmness = rng.choice(self.calmness)
        while self.loop.now < self.chaos:
            await asyncio.sleep(rng.expovariate(1 / calmness))
            fault = rng.choice(faults)
            victims = self._victims(fault)
            if victims and self.loop.now < self.chaos:
                fault(rng.choice(victims))

    def later(self, seconds: float, act: Callable[..., object], *args: Any) -> None:
        """Have something happen, whoever lives by then."""
        self.loop.at(self.loop.now + seconds, act, *args, context=self.context)

    def _crash(self, station: Station) -> None:
        station.crash()
        if self.rng.random() < 0.5:
            self.later(self.rng.random(), self.dead.add, station.name)
        self.later(self.rng.uniform(0.2, 10.0), self._start)

    def _freeze(self, station: Station) -> None:
        seconds = self.rng.choice(FREEZES)
        station.freeze(lid=self.rng.random() < 0.4)
        self._busy.add(station.name)
        self.later(seconds, self._thaw, station, seconds)

    def _thaw(self, station: Station, seconds: float) -> None:
        self._busy.discard(station.name)
        if station.up:
            station.thaw(seconds)

    def _cut(self, station: Station) -> None:
        there, back = self.rng.choice(((True, True), (True, False), (False, True)))
        station.cut(there=there, back=back)
        self._busy.add(station.name)
        self.later(self.rng.choice(FREEZES), self._mend, station)

    def _mend(self, station: Station) -> None:
        self._busy.discard(station.name)
        station.mend()

    def _cut_all(self, _: Station) -> None:
        seconds = self.rng.choice(FREEZES)
        for station in [each for each in self._up() if each.name not in self._busy]:
            station.cut(there=True, back=True)
            self._busy.add(station.name)
            self.later(seconds, self._mend, station)

    def _drain(self, station: Station) -> None:
        station.drain(self.rng.choice((0.0, 1.0, 4.0)), jobs.LONGEST_GRACE)
        self._busy.add(station.name)
        if self.rng.random() < 0.3:
            self.later(self.rng.random() * 2, self._again, station)
        self.later(self.rng.uniform(0.2, 5.0), self._start)

    def _again(self, station: Station) -> None:
        if station.up:
            station.cancel_all()

    def _dismiss(self, station: Station) -> None:
        """Have an operator remove a worker with all that it runs: its leases are lost at once."""
        answer = self.witness.carry_out(self.operator, "dismiss", (station.name,), {"force": True})
        if isinstance(answer, Dismissed):
            self.note("DISMISSED", station.name)
            station.dismissed_at = self.loop.now
            self._busy.add(station.name)  # as one that drains: a closed lid delays its deadlines
            self.later(self.rng.uniform(0.2, 5.0), self._start)

    def _jump(self, _: Station) -> None:
        seconds = self.rng.choice(JUMPS) * self.rng.choice((1, -1))
        self.note("CLOCK", seconds)
        self.clock.ahead += seconds
        self.jumped_at = self.loop.now

    def _calm(self) -> None:
        self.note("CALM")
        self.badness = 0.0
        if not any(each.leave_by is None and each.dismissed_at is None for each in self._up()):
            self._start()


W = TypeVar("W", bound=World)


def run(seed: int, kind: Callable[..., W], **how: Any) -> W:
    """Play one seed from beginning to end."""
    world = kind(seed, **how)
    loop = world.loop
    handler = _Log(world)
    log = logging.getLogger("conveyor")
    log.addHandler(handler)
    propagate, log.propagate = log.propagate, False
    loop.set_exception_handler(
        lambda _, facts: world.broken("bug", f"{facts['message']}: {facts.get('exception')!r}")
    )
    asyncio.set_event_loop(loop)
    # A cycle must not decide when a coroutine is closed.
    gc.disable()
    try:
        telling = loop.create_task(world.main(), context=world.context.copy())
        try:
            loop.run_until_complete(telling)
        except RuntimeError:
            if len(world.violations) < ENOUGH:
                raise
        _end(world)
    finally:
        gc.enable()
        log.removeHandler(handler)
        log.propagate = propagate
        asyncio.set_event_loop(None)
        loop.close()
    return world


def _end(world: World) -> None:
    """Let everything that is still there end, without a trace."""
    world.over = True
    loop = world.loop
    for process in world.processes():
        process.gone = False
        loop.thaw(process)
    # A slot that is cancelled while its job is being stopped takes that for the job's own: again.
    for _ in range(5):
        waiting = [task for task in loop.tasks if not task.done()]
        for task in waiting:
            task.cancel()
        if waiting:
            loop.run_until_complete(asyncio.wait(waiting, timeout=60.0))


class _Log(logging.Handler):
    """Writes what the workers log into the history."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        self._world.note("log", record.getMessage())
