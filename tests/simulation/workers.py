"""The real worker as one simulated process: its clock, journal and children are simulated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from jobs import LONGEST_GRACE, ScriptedRunner
from loop import Process
from runs import CONFIRM, LEASE, Key
from wire import PATIENCE, Wire

from conveyor.core.job import WorkerInfo
from conveyor.core.task import Kind, Task
from conveyor.maintenance.rescuer import Rescuer
from conveyor.runners.coroutine import CoroutineRunner
from conveyor.runners.job_control import Runner
from conveyor.worker.assemble import Assembly
from conveyor.worker.options import WorkerOptions
from conveyor.worker.worker import Worker

if TYPE_CHECKING:
    from world import World

OPTIONS = WorkerOptions(
    queues=(("urgent", 1), ("default", 1)), strict=True, slots=3, lease_for=LEASE, poll=2.0
)


class SimulatedJournal:
    """The crash journal, but in the world instead of a file, so that others can read it."""

    def __init__(self, name: str, boards: dict[str, dict[int, str]]) -> None:
        self.name = self.path = ""
        self._boards = boards
        self._named = name
        self._places = 0

    def open(self) -> None:
        self.name = self.path = self._named
        self._boards[self.name] = {}

    def record_start(self, job_id: str) -> int:
        self._places += 1
        self._boards[self.name][self._places] = job_id
        return self._places

    def record_end(self, place: int) -> None:
        self._boards.get(self.name, {}).pop(place, None)

    def clear(self) -> None:
        self._boards[self.name] = {}

    def close(self) -> None:
        self._boards.pop(self.name, None)


class Runners(Mapping[Kind, Runner]):
    """Coroutines as they are, and processes by script."""

    def __init__(self, coroutine: Runner, process: Runner) -> None:
        self._by_kind: dict[Kind, Runner] = {"coroutine": coroutine, "process": process}

    def __getitem__(self, kind: Kind) -> Runner:
        return self._by_kind[kind]

    def __iter__(self) -> Any:
        return iter(self._by_kind)

    def __len__(self) -> int:
        return len(self._by_kind)

    async def close(self) -> None:
        for runner in self._by_kind.values():
            await runner.close()


class Parts(Assembly):
    """The parts of a worker, with those replaced that do not belong to a simulation.

    A planted fault replaces one more, by the name of its attribute.
    """

    confirm_within = CONFIRM
    process_runner: type[ScriptedRunner] = ScriptedRunner
    rescuer: type[Rescuer] = Rescuer

    def __init__(self, station: Station, tasks: Mapping[str, Task]) -> None:
        options = msgspec.structs.replace(OPTIONS, labels=station.labels)
        super().__init__(store=station.wire, tasks=tasks, options=options)
        self.station = station
        self.elapsed = self.make_elapsed()

    def make_elapsed(self) -> Callable[[], float]:
        """Return the clock that goes on while the machine sleeps."""
        loop = self.station.world.loop
        return lambda: loop.now

    def make_info(self) -> WorkerInfo:
        info = super().make_info()
        return msgspec.structs.replace(info, id=self.station.name, boot_id="simulated", pid=0)

    def make_journal(self, worker: str) -> Any:
        return SimulatedJournal(f"simulated journal of {worker}", self.station.world.boards)

    def make_runners(self) -> Any:
        return Runners(CoroutineRunner(), self.process_runner(self.station))

    def make_rescuer(self, worker: str) -> Rescuer:
        world = self.station.world
        return self.rescuer(
            self.store,
            worker=worker,
            elapsed=self.elapsed,
            is_dead=world.knows_dead,
            has_died=world.knows_dead,
            read_journal=world.board,
        )


class Station:
    """One life of a worker: its process, its children, its line to the store."""

    def __init__(self, world: World, name: str, labels: frozenset[str] = frozenset()) -> None:
        self.world = world
        self.name = name
        self.labels = labels
        self.process = Process(name)
        self.children = Process(f"{name}'s children")
        self.wire = Wire(world, name, self.process)
        self.claimed: set[Key] = set()
        self.began_at = self.woke_at = world.loop.now
        self.leave_by: float | None = None
        self.dismissed_at: float | None = None
        self.exited = False
        self.task: asyncio.Task[None] | None = None
        self.process.context.run(self._start)

    def _start(self) -> None:
        self.worker = Worker(self.world.parts(self, self.world.tasks).parts())
        self.task = self.world.loop.create_task(self._live(), context=self.process.context.copy())

    async def _live(self) -> None:
        world = self.world
        await self.worker.run()
        if not world.over:
            self.exited = True
            world.note("left", self.name)
            world.runs.died(self)
            world.witness.left(self)
            self.process.gone = self.children.gone = True

    @property
    def up(self) -> bool:
        """Whether this worker is there, frozen or not."""
        return not self.process.gone

    def able_at(self) -> float:
        """Return since when nothing has kept this worker from talking to the store."""
        if self.wire.no_way_there or self.wire.no_way_back:
            return self.world.loop.now
        return max(self.woke_at, self.wire.trouble_until)

    def crash(self) -> None:
        """Die by SIGKILL; children die with their worker."""
        self.world.note("CRASH", self.name)
        self.process.gone = self.children.gone = True
        self.world.runs.died(self)

    def freeze(self, *, lid: bool) -> None:
        """SIGSTOP to the worker alone, or the lid of its machine closes."""
        self.world.note("LID CLOSED" if lid else "STOPPED", self.name)
        self.world.loop.freeze(self.process, lid=lid)
        if lid:
            self.world.loop.freeze(self.children, lid=True)

    def thaw(self, seconds: float) -> None:
        """Go on after a freeze of so many seconds."""
        lid = self.process.asleep
        self.world.note("GOES ON", self.name)
        self.woke_at = self.world.loop.now
        self.world.loop.thaw(self.process, seconds if lid else 0.0)
        if lid:
            self.world.loop.thaw(self.children, seconds)

    def cut(self, *, there: bool, back: bool) -> None:
        self.world.note("CUT", self.name, "there" if there else "", "back" if back else "")
        self.wire.cut(there=there, back=back)

    def mend(self) -> None:
        self.world.note("MENDED", self.name)
        self.wire.cut(there=False, back=False)
        now = self.world.loop.now
        self.wire.trouble_until = max(self.wire.trouble_until, now + PATIENCE)

    def drain(self, timeout: float, longest_grace: float) -> None:
        """Be told to leave: the first signal."""
        loop = self.world.loop

        def act() -> None:
            self.world.note("DRAINS", self.name, timeout)
            self.leave_by = loop.now + timeout + longest_grace + LEAVE
            self.worker.drain(timeout)

        loop.call_soon(act, context=self.process.context)

    def look_for_order(self) -> None:
        """Note when a worker that an operator has removed begins to leave; it must, by itself."""
        now = self.world.loop.now
        if self.dismissed_at is None or self.leave_by is not None:
            return
        if self.worker.parts.dispatcher.draining:
            self.leave_by = now + OPTIONS.drain + LONGEST_GRACE + LEAVE
        elif not self.process.frozen and now - max(self.dismissed_at, self.able_at()) > ORDERED:
            self.world.broken("drain", f"{self.name} was removed and stays")

    def cancel_all(self) -> None:
        """Be told to leave for the second time."""
        self.world.note("SECOND SIGNAL", self.name)
        self.world.loop.call_soon(self.worker.cancel_all, context=self.process.context)


# What the worker adds to its jobs' grace before it leaves without them: see `worker.LEAVE`.
LEAVE = 5.0
# Within how many seconds a worker learns an order: from a heartbeat, or from one that got no answer
# and the next.
ORDERED = OPTIONS.beat + 2 * PATIENCE
