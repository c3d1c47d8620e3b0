"""Runs jobs: claims them while slots are free, keeps their leases, reports how they ended."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from . import feed
from .board import Board
from .clock import elapsed
from .errors import ConveyorError, UnavailableError
from .execution import outcome_of, unknown_task
from .failure import error_info
from .job import JobRecord
from .lifecycle import Failed, Interrupted, Outcome
from .pending import Pending
from .runners.capture import OutputBuffer
from .runners.control import Control, Runner, Stop
from .store.protocol import Claimant, Exchanged, Hint, Lease, Renewal, Report, WorkerStore
from .task import Kind, Task

log = logging.getLogger("conveyor.slots")

FLUSH = 0.2
LONGEST_PAUSE = 5.0


class Slots:
    """One event loop that runs jobs in `slots` slots until it is drained.

    `shares` are the queues with their weights; `strict` asks them in order instead. `lease_for`
    is how long, in seconds, a claim lasts unless renewed (every quarter of that). `elapsed` tells
    how much time has passed since some moment, in seconds.
    """

    def __init__(
        self,
        *,
        store: WorkerStore,
        who: Claimant,
        tasks: Mapping[str, Task],
        runners: Mapping[Kind, Runner],
        output: OutputBuffer,
        shares: Sequence[tuple[str, int]],
        slots: int,
        strict: bool = False,
        poll: float = 5.0,
        app: str = "this program",
        board: Board | None = None,
        elapsed: Callable[[], float] = elapsed,
    ) -> None:
        self._elapsed = elapsed
        self.who = who
        self._board = board
        self.slots = slots
        self.handed_back = 0
        self.finished = 0
        self._store = store
        self._tasks = tasks
        self._runners = runners
        self._output = output
        self._shares = tuple(shares)
        self._strict = strict
        self._poll = poll
        self._app = app
        self._ready: deque[JobRecord] = deque()
        self._running: dict[str, Control] = {}
        self._reports: list[Report] = []
        self._idle: deque[asyncio.Future[None]] = deque()
        self._nudged = asyncio.Event()
        self._busy = asyncio.Event()
        self._draining = False
        self._exchanging = False
        self._empty_until = 0.0
        self._hints = 0
        self._rate = 0.0
        self._measured = self._elapsed(), 0

    @property
    def running(self) -> list[JobRecord]:
        """The jobs whose code runs right now."""
        return [control.job for control in self._running.values()]

    @property
    def held(self) -> int:
        """How many jobs are leased: running, or claimed ahead and not started."""
        return len(self._running) + len(self._ready)

    @property
    def idle(self) -> bool:
        """Whether nothing is held, all is reported, and the last look found nothing to claim."""
        busy = self.held or self._reports or self._exchanging
        return not busy and self._empty_until > 0

    @property
    def draining(self) -> bool:
        """Whether this worker takes no more jobs."""
        return self._draining

    async def run(self) -> None:
        """Work until drained. Returns once every running job has ended and was reported."""
        async with asyncio.TaskGroup() as group:
            slots = [group.create_task(self._slot()) for _ in range(self.slots)]
            helpers = [group.create_task(self._keep_leases()), group.create_task(self._ship())]
            await self._feed()
            for task in (*slots, *helpers):
                task.cancel()
        await self._flush_output()

    def drain(self) -> None:
        """Take no more jobs and give back at once what was claimed ahead; see the rest through."""
        self._draining = True
        self._give_back(len(self._ready))
        self._nudged.set()

    def stop_running(self, request: Stop) -> None:
        """Ask every running job to stop."""
        for control in list(self._running.values()):
            control.stop(request)

    def abandon(self) -> None:
        """Hand back the jobs whose code would not stop. Only right before the process ends."""
        for control in list(self._running.values()):
            control.stop(Stop("lost", "the worker is leaving"))
            self._report(control.job, Interrupted())
            self.handed_back += 1
        self._running.clear()
        self._nudged.set()

    def hear(self, hint: Hint) -> None:
        """Take a store's hint. Called in the event loop."""
        match hint.kind:
            case "work":
                self._hints += 1
                self._empty_until = 0.0
                self._nudged.set()
            case "cancel":
                named = [job for job in self._held_jobs() if job.id in hint.subjects]
                if named or not hint.subjects:
                    self._renewing = asyncio.ensure_future(self._renew(named or self._held_jobs()))
            case _:
                return

    # -- slots ---------------------------------------------------------------------------------

    async def _slot(self) -> None:
        while True:
            while not self._ready:
                future = asyncio.get_running_loop().create_future()
                self._idle.append(future)
                await future
            job = self._ready.popleft()
            await self._run_job(job)

    async def _run_job(self, job: JobRecord) -> None:
        task = self._tasks.get(job.task)
        if task is None:
            self._report(job, unknown_task(job, self._app))
            return
        control = Control(job, task, self._output)
        older = self._running.get(job.id)
        if older is not None:  # its lease ended unnoticed, and the job came back to this worker
            older.stop(Stop("lost", "the lease was lost"))
        self._running[job.id] = control
        if not self._busy.is_set():
            self._busy.set()
        timeout = job.options.timeout
        alarm = None if timeout is None else self._set_alarm(control, timeout)
        place = None if self._board is None else self._board.begin(job.id)
        try:
            ending = await self._runners[task.kind].run(control)
        except Exception as error:  # noqa: BLE001 - a runner's own bug must not end the worker
            ending = Failed(error_info(error))
        if self._board is not None and place is not None:
            self._board.end(place)
        if alarm is not None:
            alarm.cancel()
        if self._running.get(job.id) is not control:
            return  # handed back already, or claimed anew
        del self._running[job.id]
        outcome = outcome_of(ending, control.stop_request, job.options.on_shutdown)
        if outcome is None:
            log.warning("job.lost id=%s task=%s lease=%d", job.id, job.task, job.lease)
            self._output.forget(job)
            return
        if isinstance(outcome, Interrupted):
            self.handed_back += 1
        self._report(job, outcome)

    def _set_alarm(self, control: Control, timeout: float) -> asyncio.TimerHandle:
        stop = Stop("timeout", f"it ran longer than its timeout of {timeout:g} s")
        return asyncio.get_running_loop().call_later(timeout, control.stop, stop)

    def _report(self, job: JobRecord, outcome: Outcome) -> None:
        self._output.end(job)
        self._reports.append(Report(job.id, job.lease, outcome))
        self.finished += 1
        self._nudged.set()

    # -- claiming and settling -----------------------------------------------------------------

    async def _feed(self) -> None:
        pause = 0.1
        while not (self._draining and not self._running and not self._reports):
            reports, self._reports = self._reports, []
            room = self._room()
            if not reports and not room:
                await self._nap()
                continue
            self._exchanging = True
            try:
                await self._exchange(reports, room)
                pause = 0.1
            except UnavailableError as error:
                # Nothing that ended may be lost: the reports wait until the store is back.
                self._reports = reports + self._reports
                log.error("store.unavailable retry_in=%.1f error=%s", pause, error)  # noqa: TRY400 - no traceback helps here
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
            finally:
                self._exchanging = False

    async def _exchange(self, reports: list[Report], room: int) -> None:
        # What jobs wrote and said goes first: after the settling their leases are void.
        shipping = self._ship_now()
        asked = feed.wants(self._shares, room, strict=self._strict) if room else []
        hints = self._hints
        answer = await self._store.exchange(reports, asked, self.who, limit=room)
        for event, pending in shipping:
            await self._shrug(pending, event)
        if room and not answer.jobs and hints == self._hints:
            self._empty_until = self._elapsed() + self._poll
        self._take(answer, reports)

    def _take(self, answer: Exchanged, reports: list[Report]) -> None:
        if len(answer.settled) != len(reports):
            settled = set(answer.settled)
            for report in reports:
                if report.id not in settled:
                    log.warning("report.stale id=%s lease=%d", report.id, report.lease)
        self._ready.extend(answer.jobs)
        if self._draining:
            self._give_back(len(self._ready))
        for _ in range(min(len(self._idle), len(self._ready))):
            future = self._idle.popleft()
            if not future.done():
                future.set_result(None)

    def _room(self) -> int:
        if self._draining or self._elapsed() < self._empty_until:
            return 0
        free = self.slots + self._ahead() - len(self._running) - len(self._ready)
        # Asking for a few at a time while many are still held would undo the batching.
        return 0 if self._ready and free <= self._ahead() // 2 else max(0, free)

    def _ahead(self) -> int:
        return feed.prefetch(int(self._rate), 1.0)

    def _measure(self) -> None:
        now = self._elapsed()
        then, finished = self._measured
        if now - then >= 0.01:
            self._rate = feed.smooth(self._rate, self.finished - finished, now - then)
            self._measured = now, self.finished

    async def _nap(self) -> None:
        self._nudged.clear()
        self._measure()
        wait = self._poll
        if not self._draining and self._empty_until:
            wait = max(0.0, self._empty_until - self._elapsed()) or self._poll
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._nudged.wait()
        self._measure()

    def _give_back(self, count: int) -> None:
        for _ in range(count):
            job = self._ready.pop()
            self._reports.append(Report(job.id, job.lease, Interrupted()))

    # -- leases and output ---------------------------------------------------------------------

    async def _keep_leases(self) -> None:
        every = self.who.lease_for / 4
        due = self._elapsed() + every
        while True:
            await asyncio.sleep(min(1.0, every))
            surplus = len(self._ready) - self._ahead()
            if surplus > 0 and len(self._running) >= self.slots:
                self._give_back(surplus)
                self._nudged.set()
            if self._elapsed() >= due:
                await self._renew(self._held_jobs())
                due = self._elapsed() + every

    def _held_jobs(self) -> list[JobRecord]:
        return [*self.running, *self._ready]

    async def _renew(self, jobs: Sequence[JobRecord]) -> None:
        leases = [Lease(job.id, job.lease) for job in jobs]
        if not leases:
            return
        try:
            renewals = await self._store.extend(leases, lease_for=self.who.lease_for)
        except ConveyorError as error:
            log.error("lease.not_renewed jobs=%d error=%s", len(leases), error)  # noqa: TRY400 - it says all there is
            return
        for lease, renewal in zip(leases, renewals, strict=True):
            self._obey(lease, renewal)

    def _obey(self, lease: Lease, renewal: Renewal) -> None:
        if renewal.verdict == "continue":
            return
        control = self._running.get(lease.id)
        if control is not None and control.job.lease == lease.lease:
            if renewal.verdict == "cancel":
                control.stop(Stop("cancel", renewal.reason))
            else:
                control.stop(Stop("lost", "the lease was lost"))
            return
        for job in self._ready:
            if job.id == lease.id and job.lease == lease.lease:
                self._ready.remove(job)
                # A cancel that was asked for turns this into "cancelled" in the store.
                self._reports.append(Report(job.id, job.lease, Interrupted()))
                self._nudged.set()
                return

    async def _ship(self) -> None:
        while True:
            await self._busy.wait()
            while self._running:
                await asyncio.sleep(FLUSH)
                await self._flush_output()
            self._busy.clear()

    async def _flush_output(self) -> None:
        for event, pending in self._ship_now():
            await self._shrug(pending, event)

    def _ship_now(self) -> list[tuple[str, Pending[list[str]]]]:
        """Hand what jobs wrote and said over to the store, which keeps the order of the calls."""
        shipping: list[tuple[str, Pending[list[str]]]] = []
        chunks = self._output.take()
        if chunks:
            shipping.append(("output.lost", self._store.write_output(chunks)))
        progress = self._output.take_progress()
        if progress:
            reports = [(Lease(job.id, job.lease), said) for job, said in progress]
            shipping.append(("progress.lost", self._store.set_progress(reports)))
        return shipping

    async def _shrug(self, pending: Pending[list[str]], event: str) -> None:
        try:
            await pending
        except ConveyorError as error:
            log.error("%s error=%s", event, error)  # noqa: TRY400 - it says all there is
