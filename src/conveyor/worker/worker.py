"""A worker: slots that run jobs, and beside them the upkeep, the keeper of leases and the ear."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from math import inf
from typing import Self

import msgspec

from ..core.access import agent_suffix
from ..core.command_policy import UNRESTRICTED, CommandRules
from ..core.job import JobRecord, State, WorkerInfo
from ..core.task import Task
from ..errors import ConveyorError, UnavailableError
from ..maintenance.upkeep import RETENTION, SWEEP, Schedule, Upkeep
from ..runners.capture import OutputBuffer, capture_output
from ..runners.table import Runners
from ..runners.workdir import WorkdirRoot
from ..store.messages import CONFIRM, Claimant, Hint, Order, Report
from ..store.protocol import Store
from ..system.crash_journal import CrashJournal
from ..system.process_identity import worker_id, worker_info
from .dispatcher import Slots
from .job_files import Equipped
from .sidecar import Keeping

log = logging.getLogger("conveyor.worker")

# At a shutdown, what a job gets to stop, in seconds, whatever its own grace: with the 25 s of
# draining, and what it takes to leave, that is within the 30 s of docker stop and Kubernetes.
SHUTDOWN_GRACE = 3.0
# What it gets beyond that until the worker leaves without it.
LEAVE = 0.5
# How long the store may take to hear that the worker has left.
GOODBYE = 1.0
DRAIN = 25.0

Phases = Callable[[str, Sequence[JobRecord]], None]


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker works. Durations are seconds.

    `queues` are names with weights; `strict` asks them in order instead of by weight. After `most`
    jobs it drains. `commands` says what commands may do; while they are allowed, "commands" is one
    of the labels. `keep` says whether a process of its own renews the leases of a shared store.
    `beat` is how often it says that it is there. `drain` is how long running jobs may finish when
    an `async with` block ends, or when it is told to drain from afar. `on_round` is called in the
    worker's loop about once a second while all is well, for whoever watches; it must not raise.
    """

    queues: tuple[tuple[str, int], ...] = (("default", 1),)
    slots: int = 8
    strict: bool = False
    most: float = inf
    labels: frozenset[str] = frozenset()
    commands: CommandRules = UNRESTRICTED
    lease_for: float = 60.0
    poll: float = 5.0
    beat: float = SWEEP
    drain: float = DRAIN
    app: str = "this program"
    keep: bool = True
    max_jobs_per_process: int = 1000
    max_rss_mb: int = 512
    retention: Mapping[State, float] = msgspec.field(default_factory=lambda: dict(RETENTION))
    on_round: Callable[[WorkerInfo], None] | None = None


class Worker:
    """Runs the jobs of some queues until it is drained. Use it within one event loop.

    `async with belt.worker():` runs it beside the block and drains it at the end. `on_phase` is
    called in its loop with what happens at a shutdown, in a word, and the jobs that still run.
    """

    def __init__(
        self,
        *,
        store: Store,
        tasks: Mapping[str, Task],
        options: WorkerOptions,
        schedules: Sequence[Schedule] = (),
    ) -> None:
        self.id = worker_id() + agent_suffix(store.secret)
        labels = options.commands.label(options.labels)
        self.options = options = msgspec.structs.replace(options, labels=labels)
        self._store = store
        self._output = OutputBuffer()
        self._runners = Runners(
            slots=options.slots,
            max_jobs=options.max_jobs_per_process,
            max_rss_mb=options.max_rss_mb,
            lease_for=options.lease_for,
            commands=options.commands,
        )
        self._scratch = WorkdirRoot(self.id)
        # Nobody outlives this process to read it where the store does not.
        self._board: CrashJournal | None = None
        if store.is_multi_process:
            self._board = CrashJournal(store.folder, self.id, options.slots)
        self._slots = self._make_slots(tasks)
        self._upkeep = Upkeep(
            store=store,
            me=self._introduce,
            obey=self._obey,
            schedules=schedules,
            retention=options.retention,
            # A lapsed lease is to be noticed soon beside its own length.
            sweep=min(options.beat, options.lease_for / 4),
            after=options.on_round,
        )
        self._info = worker_info(
            self.id,
            now=store.now(),
            slots=options.slots,
            queues=tuple(name for name, _ in options.queues),
            labels=tuple(sorted(options.labels)),
        )
        self.on_phase: Phases = _say_nothing
        self.ended = threading.Event()
        self._left: list[Report] = []
        self._quiet = False
        self._run: asyncio.Task[None] | None = None
        self._keeping = Keeping(
            store=store,
            worker=self.id,
            lease_for=options.lease_for,
            places=options.slots,
            board=lambda: self._board,
            left=self._left,
            keep=options.keep,
        )
        self._stopping: asyncio.Task[None] | None = None
        self._stop_at = inf
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()  # so that it can be stopped from now on
        self._run = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._run is not None:
            if not self.ended.is_set():  # it may have been told to drain from afar
                self.drain(self.options.drain)
            await self._run

    @property
    def running(self) -> list[JobRecord]:
        """The jobs whose code runs right now."""
        return self._slots.running

    @property
    def held(self) -> int:
        """How many jobs this worker has leased."""
        return self._slots.held

    @property
    def idle(self) -> bool:
        """Whether there is nothing now that this worker could do, lost and due jobs included."""
        return self._slots.idle and self._upkeep.rounds > 0

    async def is_done(self) -> bool:
        """Whether it is idle, and nothing has become due just now. Call it in the worker's loop."""
        try:
            return self.idle and not await self._upkeep.make_due() and self.idle
        except UnavailableError:  # it is worked on, and said, where the worker needs the store
            return False

    @property
    def finished(self) -> int:
        """How many attempts have ended here."""
        return self._slots.finished

    @property
    def handed_back(self) -> int:
        """How many jobs that had begun were given back to be run elsewhere."""
        return self._slots.handed_back

    @property
    def left(self) -> list[Report]:
        """What to report of jobs that still ran when `run` returned: threads that do not listen.

        They stay leased until this process ends; their jobs are then handed back.
        """
        return self._left

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop it runs in; None before `run`."""
        return self._loop

    async def run(self) -> None:
        """Work until drained; every job that was taken has then been settled or handed back.

        All but those in `left`, which no thread of this process can stop.
        """
        self._loop = asyncio.get_running_loop()
        try:
            await self._work(self._loop)
        finally:
            self.ended.set()

    async def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._board is not None:
            self._board.open()
        self._scratch.remove_stale()
        with self._beside(loop):
            upkeep = asyncio.create_task(self._upkeep.run())
            working = asyncio.create_task(self._slots.run())
            try:
                await asyncio.wait([upkeep, working], return_when=asyncio.FIRST_COMPLETED)
                if upkeep.done():
                    upkeep.result()  # it only ever ends by a bug: say which
                await working
            finally:
                if not working.done():  # cancelled from outside
                    self._slots.report_at_the_end(self._slots.unreported())
                    self._abandon()
                tasks = [task for task in (upkeep, working, self._stopping) if task is not None]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self._runners.close()
                await self._slots.report_last()
                self._scratch.close(in_use=bool(self._left))
                if not self._left:
                    await self._say_goodbye()
                    if self._board is not None:
                        self._board.close()

    def drain(self, timeout: float = DRAIN) -> None:
        """Take no more jobs, give back those not started, let the running ones finish.

        After `timeout` seconds those that still run are stopped: handed back, or cancelled where
        the job says on_shutdown="cancel". They get 3 s for it, or their own grace if that is less.
        `run` returns when all have ended, and half a second after that in any case. A further call
        can only bring that forward. Call it in the worker's event loop.
        """
        self._slots.drain()
        if self._stopping is None:
            self.on_phase("draining", self.running)
        if asyncio.get_running_loop().time() + timeout < self._stop_at:
            self._stop_in(timeout)

    def cancel_all(self) -> None:
        """Stop the running jobs now, as `drain` does in the end. Call it in the worker's loop."""
        self._slots.drain()
        self._stop_in(0.0)

    def call(self, method: Callable[[], None]) -> None:
        """Have a method of this worker called in its event loop, from any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # its loop has ended, and the worker with it
                self._loop.call_soon_threadsafe(method)

    def be_quiet(self, quiet: bool = True) -> None:  # noqa: FBT001, FBT002 - it is what the name says
        """Claim nothing, or claim again; what runs goes on. Call it in the worker's loop."""
        order: Order = "quiet" if quiet else "work"
        self._obey(order)
        self._upkeep.wish(order)

    def disown(self) -> list[Report]:
        """Give everything up because this process ends now; returns what the store is to hear.

        For when the event loop cannot go on; may be called from any thread.
        """
        ended = self._slots.unreported()
        return [*ended, *self._left, *(report for _, report in self._slots.disown())]

    def _obey(self, order: Order) -> None:
        if order == "drain":
            if not self._slots.draining:
                self.drain(self.options.drain)
            return
        quiet = order == "quiet"
        if quiet is not self._quiet:
            self._quiet = quiet
            self._slots.be_quiet(quiet)
            self._upkeep.poke(sweep=True)  # so that others see it
            self.on_phase("quiet" if quiet else "resumed", self.running)

    def _stop_in(self, timeout: float) -> None:
        if self._stopping is not None:
            self._stopping.cancel()
        self._stop_at = asyncio.get_running_loop().time() + timeout
        self._stopping = asyncio.ensure_future(self._stop_after(timeout))

    async def _stop_after(self, timeout: float) -> None:
        await asyncio.sleep(timeout)
        running = self.running
        if not running:
            return
        self.on_phase("stopping", running)
        self._slots.stop_running("the worker is shutting down", grace=SHUTDOWN_GRACE)
        longest = max(min(job.options.grace, SHUTDOWN_GRACE) for job in running)
        await asyncio.sleep(longest + LEAVE)
        if self.running:
            self.on_phase("leaving", self.running)
            self._abandon()

    def _abandon(self) -> None:
        ended: list[Report] = []
        for kind, report in self._slots.abandon():
            log.warning("job.abandoned id=%s kind=%s", report.id, kind)
            # The end of its slot is the end of a coroutine, and of a process. Not of a thread.
            (self._left if kind == "thread" else ended).append(report)
        self._slots.report_at_the_end(ended)

    @contextmanager
    def _beside(self, loop: asyncio.AbstractEventLoop) -> Generator[None]:
        def hear(hint: Hint) -> None:
            with suppress(RuntimeError):  # the loop has ended, and the worker with it
                loop.call_soon_threadsafe(self._hear, hint)

        with ExitStack() as stack:
            stack.enter_context(capture_output())
            stack.callback(self._store.listen(["work", "due", "cancel", "quiet"], hear))
            stack.enter_context(self._keeping)
            yield

    def _make_slots(self, tasks: Mapping[str, Task]) -> Slots:
        options = self.options
        confirm_within = CONFIRM if self._store.answers_can_be_lost else None
        who = Claimant(self.id, options.lease_for, options.labels, confirm_within)
        return Slots(
            store=self._store,
            who=who,
            tasks=tasks,
            runners=Equipped(self._runners, store=self._store, scratch=self._scratch),
            output=self._output,
            shares=options.queues,
            slots=options.slots,
            strict=options.strict,
            most=options.most,
            poll=options.poll,
            app=options.app,
            board=self._board,
            fences=self._store.can_be_partitioned,
            keeps_call_order=self._store.keeps_call_order,
        )

    def _hear(self, hint: Hint) -> None:
        match hint.kind:
            case "due":
                self._upkeep.poke()
            case "quiet" if not hint.subjects or self.id in hint.subjects:
                self._upkeep.poke(sweep=True)
                self._slots.hear(hint)
            case _:
                self._slots.hear(hint)

    async def _say_goodbye(self) -> None:
        try:
            async with asyncio.timeout(GOODBYE):
                await self._store.leave(self.id)
        except (ConveyorError, TimeoutError) as error:
            log.warning("worker.left_unsaid error=%s", error)

    def _introduce(self) -> WorkerInfo:
        return msgspec.structs.replace(
            self._info,
            begun=self._board.name if self._board else "",
            running=len(self.running),
            finished=self.finished,
            draining=self._slots.draining,
            quiet=self._quiet,
        )


def _say_nothing(_phase: str, _running: Sequence[JobRecord]) -> None:
    """Have nobody who wants to hear."""
