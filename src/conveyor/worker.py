"""A worker: slots that run jobs, and beside them the upkeep, the keeper of leases and the ear."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress

import msgspec

from . import keeper
from .board import Board
from .errors import ConveyorError
from .identity import boot_id, pid_started, worker_id
from .job import JobRecord, State, WorkerInfo
from .runners.capture import OutputBuffer, capturing
from .runners.control import Stop
from .runners.table import Runners
from .slots import Slots
from .store.protocol import Claimant, Hint, Store
from .task import Task
from .upkeep import RETENTION, SWEEP, Schedule, Upkeep

log = logging.getLogger("conveyor.worker")

# What a job that was told to stop gets beyond its own grace before the worker leaves without it.
LEAVE = 5.0


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker works. Durations are seconds.

    `queues` are names with weights; `strict` asks them in order instead of by weight. `keep`
    says whether a process of its own renews the leases of a shared store.
    """

    queues: tuple[tuple[str, int], ...] = (("default", 1),)
    slots: int = 8
    strict: bool = False
    labels: frozenset[str] = frozenset()
    lease_for: float = 60.0
    poll: float = 5.0
    app: str = "this program"
    keep: bool = True
    max_jobs_per_process: int = 1000
    max_rss_mb: int = 512
    retention: Mapping[State, float] = msgspec.field(default_factory=lambda: dict(RETENTION))


class Worker:
    """Runs the jobs of some queues until it is drained. Use it within one event loop."""

    def __init__(
        self,
        *,
        store: Store,
        tasks: Mapping[str, Task],
        options: WorkerOptions,
        schedules: Sequence[Schedule] = (),
    ) -> None:
        self.id = worker_id()
        self.options = options
        self._store = store
        self._output = OutputBuffer()
        self._runners = Runners(
            slots=options.slots,
            max_jobs=options.max_jobs_per_process,
            max_rss_mb=options.max_rss_mb,
            lease_for=options.lease_for,
        )
        # Nobody outlives this process to read it where the store does not.
        self._board = Board(options.slots) if store.shared else None
        who = Claimant(self.id, options.lease_for, options.labels)
        self._slots = Slots(
            store=store,
            who=who,
            tasks=tasks,
            runners=self._runners,
            output=self._output,
            shares=options.queues,
            slots=options.slots,
            strict=options.strict,
            poll=options.poll,
            app=options.app,
            board=self._board,
        )
        self._upkeep = Upkeep(
            store=store,
            me=self._introduce,
            schedules=schedules,
            retention=options.retention,
            # A lapsed lease is to be noticed soon beside its own length.
            sweep=min(SWEEP, options.lease_for / 4),
        )
        self._info = WorkerInfo(
            id=self.id,
            host=socket.gethostname(),
            boot_id=boot_id(),
            pid=os.getpid(),
            pid_started=pid_started(os.getpid()),
            started_at=store.now(),
            slots=options.slots,
            queues=tuple(name for name, _ in options.queues),
            labels=tuple(sorted(options.labels)),
        )
        self._stopping: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

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

    @property
    def finished(self) -> int:
        """How many attempts have ended here."""
        return self._slots.finished

    @property
    def handed_back(self) -> int:
        """How many jobs that had begun were given back to be run elsewhere."""
        return self._slots.handed_back

    async def run(self) -> None:
        """Work until drained; every job that was taken has then been settled or handed back."""
        self._loop = asyncio.get_running_loop()
        if self._board is not None:
            self._board.open()
        with self._beside(self._loop):
            upkeep = asyncio.create_task(self._upkeep.run())
            working = asyncio.create_task(self._slots.run())
            try:
                await asyncio.wait([upkeep, working], return_when=asyncio.FIRST_COMPLETED)
                if upkeep.done():
                    upkeep.result()  # it only ever ends by a bug: say which
                await working
            finally:
                tasks = [task for task in (upkeep, working, self._stopping) if task is not None]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self._runners.close()
                await self._say_goodbye()
                if self._board is not None:
                    self._board.close()

    def drain(self, timeout: float = 25.0) -> None:
        """Take no more jobs, give back those not started, let the running ones finish.

        After `timeout` seconds those that still run are stopped: handed back, or cancelled where
        the job says on_shutdown="cancel". `run` returns when all have ended. Call it in the
        worker's event loop.
        """
        self._slots.drain()
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._stop_after(timeout))

    def cancel_all(self) -> None:
        """Stop the running jobs now, each with its own grace. Call it in the worker's loop."""
        self._slots.drain()
        if self._stopping is not None:
            self._stopping.cancel()
        self._stopping = asyncio.ensure_future(self._stop_after(0.0))

    def call(self, method: Callable[[], None]) -> None:
        """Have a method of this worker called in its event loop, from any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # its loop has ended, and the worker with it
                self._loop.call_soon_threadsafe(method)

    async def _stop_after(self, timeout: float) -> None:
        await asyncio.sleep(timeout)
        running = self.running
        if not running:
            return
        self._slots.stop_running(Stop("shutdown", "the worker is shutting down"))
        longest = max(job.options.grace for job in running)
        await asyncio.sleep(longest + LEAVE)
        for job in self.running:
            log.warning("job.abandoned id=%s task=%s", job.id, job.task)
        self._slots.abandon()

    @contextmanager
    def _beside(self, loop: asyncio.AbstractEventLoop) -> Generator[None]:
        def hear(hint: Hint) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._hear, hint)

        with ExitStack() as stack:
            stack.enter_context(capturing())
            stack.callback(self._store.listen(["work", "due", "cancel"], hear))
            if self._store.shared and self.options.keep:
                stack.callback(keeper.stop, self._start_keeper())
            yield

    def _start_keeper(self) -> subprocess.Popen[bytes]:
        return keeper.start(self._store.url, self.id, self.options.lease_for)

    def _hear(self, hint: Hint) -> None:
        if hint.kind == "due":
            self._upkeep.poke()
        else:
            self._slots.hear(hint)

    async def _say_goodbye(self) -> None:
        try:
            await self._store.leave(self.id)
        except ConveyorError as error:
            log.warning("worker.left_unsaid error=%s", error)

    def _introduce(self) -> WorkerInfo:
        return msgspec.structs.replace(
            self._info,
            begun=self._board.path if self._board else "",
            running=len(self.running),
            draining=self._slots.draining,
        )
