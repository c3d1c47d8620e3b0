"""A worker: the dispatcher of jobs, and beside it maintenance, hints and a sidecar."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Self

from ..core.events import (
    WorkerDraining,
    WorkerEvent,
    WorkerPaused,
    WorkerResumed,
    WorkerStarted,
    WorkerStopped,
)
from ..core.hooks import Hooks
from ..core.job import JobRecord
from ..core.task import Task
from ..errors import UnavailableError
from ..maintenance.schedule_ticker import Schedule
from ..runners.capture import capture_output
from ..store.messages import Hint, HintKind, Order, Report
from ..store.protocol import Store
from .assemble import Assembly, WorkerParts
from .event_delivery import FLUSH_TIMEOUT, HURRIED_FLUSH
from .options import DRAIN, WorkerOptions
from .shutdown import Phases

HINTS: Sequence[HintKind] = ("work", "due", "cancel", "quiet", "stack")


class Worker:
    """Runs the jobs of some queues until it is drained. Use it within one event loop.

    `async with belt.worker():` runs it beside the block and drains it at the end. `on_phase` is
    called in its loop with each step of its shutdown, and the jobs that still run.
    """

    def __init__(self, parts: WorkerParts) -> None:
        self.parts = parts
        self.id = parts.info.id
        self.options = parts.options
        self.ended = threading.Event()
        self._run: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        parts.maintenance.heartbeat.on_order = self._receive_order
        parts.maintenance.heartbeat.on_refused = parts.dispatcher.note_beat
        parts.machine.on_change = self._report_machine
        parts.dispatcher.on_denied = self.cancel_all

    @classmethod
    def assemble(
        cls,
        *,
        store: Store,
        tasks: Mapping[str, Task],
        options: WorkerOptions,
        schedules: Sequence[Schedule] = (),
        hooks: Hooks | None = None,
    ) -> Self:
        """Make a worker with its usual parts."""
        assembly = Assembly(
            store=store, tasks=tasks, options=options, schedules=schedules, hooks=hooks
        )
        return cls(assembly.parts())

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()  # so that it can be stopped from now on
        self._run = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._run is not None:
            if not self.ended.is_set():  # the store may have ordered it to drain
                self.drain(self.options.drain)
            await self._run

    @property
    def on_phase(self) -> Phases:
        """What is called with each step of the shutdown, and with "quiet" and "resumed"."""
        return self.parts.shutdown.on_phase

    @on_phase.setter
    def on_phase(self, listener: Phases) -> None:
        self.parts.shutdown.on_phase = listener

    @property
    def running(self) -> list[JobRecord]:
        """The jobs whose code runs right now."""
        return [row.job for row in self.parts.held.running]

    @property
    def held(self) -> int:
        """How many jobs this worker has leased."""
        return len(self.parts.held)

    @property
    def idle(self) -> bool:
        """Whether there is nothing now that this worker could do, lost and due jobs included."""
        return self.parts.dispatcher.idle and self.parts.maintenance.rounds > 0

    async def is_done(self) -> bool:
        """Whether it is idle, and nothing has become due just now. Call it in the worker's loop."""
        try:
            return self.idle and not await self.parts.maintenance.stage() and self.idle
        except UnavailableError:  # the loops that need the store log it and retry
            return False

    @property
    def finished(self) -> int:
        """How many attempts have ended here."""
        return self.parts.held.finished

    @property
    def released(self) -> int:
        """How many jobs were returned to be run elsewhere after they had started."""
        return self.parts.held.released

    @property
    def undelivered(self) -> int:
        """How many outcomes the store has not accepted when `run` has returned."""
        return self.parts.held.unreported

    @property
    def denied(self) -> str:
        """Why the store refuses the calls of this worker, which then stops; "" if it does not."""
        return self.parts.dispatcher.denied

    @property
    def left(self) -> list[Report]:
        """What to report of jobs that still ran when `run` returned: threads that do not stop.

        They stay leased until this process ends; their jobs are then released.
        """
        return self.parts.held.threads_left

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop it runs in; None before `run`."""
        return self._loop

    async def run(self) -> None:
        """Work until drained; every job that was claimed has then been settled or released.

        All but those in `left`, which no thread of this process can stop.
        """
        self._loop = asyncio.get_running_loop()
        try:
            await self._work(self._loop)
        finally:
            self.ended.set()

    async def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        parts, shutdown = self.parts, self.parts.shutdown
        if parts.journal is not None:
            parts.journal.open()
        parts.workdir_root.remove_stale()
        with self._beside(loop):
            self._emit(WorkerStarted)
            maintaining = asyncio.create_task(parts.maintenance.run())
            dispatching = asyncio.create_task(parts.dispatcher.run())
            keeping = asyncio.create_task(parts.sidecar.keep())
            try:
                await asyncio.wait([maintaining, dispatching], return_when=asyncio.FIRST_COMPLETED)
                if maintaining.done():
                    maintaining.result()  # only a bug ends it: raise that
                await dispatching
                await shutdown.report()
            finally:
                if self.held:  # `run` was cancelled, or a bug ended it
                    shutdown.abandon()
                await shutdown.end_tasks(maintaining, dispatching, keeping)
                await parts.runners.close()
                await shutdown.report()
                parts.workdir_root.close(in_use=bool(self.left))
                self._emit(WorkerStopped, undelivered=self.undelivered)
                flush = HURRIED_FLUSH if shutdown.hurried else FLUSH_TIMEOUT
                await asyncio.gather(
                    shutdown.leave(parts.maintenance.heartbeat), parts.delivery.close(flush)
                )

    def drain(self, timeout: float = DRAIN) -> None:
        """Stop claiming jobs, release those not started, let the running ones finish.

        After `timeout` seconds those that still run are stopped: released, or cancelled where
        the job has on_shutdown="cancel". They get 3 s for it, or their own grace if that is less.
        `run` returns when all have ended, and half a second after that in any case. A further call
        can only bring that forward. Call it in the worker's event loop.
        """
        if not self.parts.dispatcher.draining:
            self._emit(WorkerDraining)
        self.parts.shutdown.drain(timeout)

    def cancel_all(self) -> None:
        """Stop the running jobs now, as `drain` does in the end. Call it in the worker's loop."""
        self.parts.shutdown.stop_now()

    def call(self, method: Callable[[], None]) -> None:
        """Call a method of this worker in its event loop, from any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # its loop has ended, and the worker with it
                self._loop.call_soon_threadsafe(method)

    def be_quiet(self, quiet: bool = True) -> None:  # noqa: FBT001, FBT002 - the name says what it is
        """Claim nothing, or claim again; what runs goes on. Call it in the worker's loop."""
        order: Order = "quiet" if quiet else "work"
        self._follow(order)
        self.parts.maintenance.heartbeat.request(order)
        self.parts.maintenance.wake(sweep=True)

    def abandon_at_exit(self) -> list[Report]:
        """Abandon all jobs because this process exits now; returns what must still be reported.

        For when the event loop cannot go on; may be called from any thread.
        """
        return self.parts.shutdown.abandon_at_exit()

    def _receive_order(self, order: Order) -> None:
        self.parts.dispatcher.note_beat()
        self.parts.stacks.ask_if_running()
        self._follow(order)

    def _follow(self, order: Order) -> None:
        dispatcher = self.parts.dispatcher
        if order == "drain":
            if not dispatcher.draining:
                self.drain(self.options.drain)
            return
        quiet = order == "quiet"
        if quiet is not dispatcher.quiet:
            dispatcher.set_quiet(quiet)
            self.parts.maintenance.wake(sweep=True)  # so that others see it
            self._emit(WorkerPaused if quiet else WorkerResumed)
            self.on_phase("quiet" if quiet else "resumed", self.running)

    def _emit(self, kind: type[WorkerEvent], **more: Any) -> None:
        """Emit an event about this worker itself."""
        delivery = self.parts.delivery
        if delivery.wants(kind):
            info = self.parts.maintenance.heartbeat.describe()
            now = self.parts.store.now()
            delivery.emit(kind(at=now, worker=self.id, info=info, **more))

    def _report_machine(self) -> None:
        self.parts.dispatcher.claim_anew()
        self.parts.maintenance.wake(sweep=True)  # so that others see it

    @contextmanager
    def _beside(self, loop: asyncio.AbstractEventLoop) -> Generator[None]:
        stacks = self.parts.stacks
        stacks.run_beside(loop)

        def pass_on(hint: Hint) -> None:
            if hint.kind == "stack":  # not in the loop, which a job may block
                if not hint.subjects or self.id in hint.subjects:
                    stacks.look()
                return
            with suppress(RuntimeError):  # the loop has ended, and the worker with it
                loop.call_soon_threadsafe(self._receive, hint)

        with ExitStack() as stack:
            stack.enter_context(capture_output())
            stack.callback(self.parts.store.listen(HINTS, pass_on))
            stack.enter_context(self.parts.sidecar)
            yield

    def _receive(self, hint: Hint) -> None:
        match hint.kind:
            case "due":
                self.parts.maintenance.wake()
            case "quiet" if not hint.subjects or self.id in hint.subjects:
                self.parts.maintenance.wake(sweep=True)
                self.parts.dispatcher.receive(hint)
            case _:
                self.parts.dispatcher.receive(hint)
