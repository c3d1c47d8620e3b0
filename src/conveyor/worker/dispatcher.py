"""Runs jobs: claims them while slots are free, keeps their leases, reports how they ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf

from ..core.backoff import DoublingBackoff
from ..core.clock import elapsed
from ..core.error_info import error_info
from ..core.job import JobRecord
from ..core.lifecycle import Failed, Interrupted, Outcome
from ..core.task import Kind, Task
from ..core.timeout import wait_for_event
from ..errors import UnavailableError
from ..runners.capture import OutputBuffer
from ..runners.job_control import JobControl, Runner, Stopped, StopRequest
from ..store.messages import Claimant, Exchanged, Hint, Lease, Renewal, Report
from ..store.protocol import WorkerStore
from ..system.crash_journal import CrashJournal
from . import prefetch
from .cancellation import ask, set_alarm
from .claim_confirmer import Unconfirmed
from .lease_renewer import FENCE, Claim, Leases
from .outcomes import outcome_of, unknown_task
from .output_sender import Shipping, tell
from .ready import Ready

log = logging.getLogger("conveyor.dispatcher")

# How long it waits, in seconds, until it asks a store again that was out of reach: what ended
# meanwhile, and was cancelled perhaps, is said only then.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
LEAVING = "the worker is leaving"
LOST = "the lease was lost"
FENCED = "its lease could not be renewed in time"


class Slots:
    """One event loop that runs jobs in `slots` slots until it is drained, or has run `most` jobs.

    `shares` are the queues with their weights; `strict` asks them in order instead. `lease_for`
    is how long, in seconds, a claim lasts unless renewed (every quarter of that). `elapsed` tells
    how much time has passed since some moment, in seconds. `fences`: a job is stopped in time whose
    lease cannot be renewed; see `Leases`. `keeps_call_order` is a trait of the store.
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
        most: float = inf,
        poll: float = 5.0,
        app: str = "this program",
        board: CrashJournal | None = None,
        elapsed: Callable[[], float] = elapsed,
        fences: bool = False,
        keeps_call_order: bool = True,
        leases: type[Leases] = Leases,
    ) -> None:
        self._elapsed = elapsed
        self._late_after = FENCE * who.lease_for
        self.who, self._board = who, board
        self.slots, self._most = slots, most
        self.handed_back = self.finished = 0
        self._store = store
        self._tasks, self._runners = tasks, runners
        self._output = output
        self._shares, self._strict = tuple(shares), strict
        self._poll, self._app, self._ready = poll, app, Ready()
        self._running: dict[str, JobControl] = {}
        self._reports: list[Report] = []
        self._reporting: list[Report] = []
        self._last: list[Report] = []
        self._nudged = asyncio.Event()
        self._draining = self._quiet = self._exchanging = False
        self._empty_until, self._hints = 0.0, 0
        self._pace = prefetch.Pace(elapsed)
        self._shipping = Shipping(
            store=store,
            output=output,
            running=lambda: self._running,
            learn=self._learn,
            in_order=keeps_call_order,
        )
        self._leases = leases(
            store=store,
            lease_for=who.lease_for,
            held=self._held_jobs,
            obey=self._obey,
            fence_off=self._fence_off if fences else None,
            elapsed=elapsed,
        )
        self._unconfirmed = Unconfirmed(
            leases=self._leases,
            within=who.confirm_within or 0.0,
            begin=self._ready.add,
            give_back=self._hand_back,
            elapsed=elapsed,
        )

    @property
    def running(self) -> list[JobRecord]:
        """The jobs whose code runs right now."""
        return [control.job for control in self._running.values()]

    @property
    def held(self) -> int:
        """How many jobs are leased: running, or claimed ahead and not started."""
        return len(self._running) + len(self._ready) + len(self._unconfirmed)

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
            beside = self._leases.keep, self._unconfirmed.run, self._trim, self._shipping.run
            helpers = [group.create_task(each()) for each in beside]
            await self._feed()
            for task in (*slots, *helpers):
                task.cancel()
        await self._shipping.flush()
        await self.report_last()

    def report_at_the_end(self, reports: Sequence[Report]) -> None:
        """Have the store told when all slots have ended, and not before."""
        self._last += reports

    async def report_last(self) -> None:
        """Tell the store what was to be told at the end; a second time there is nothing left."""
        if self._last and await tell(self._store, self._last):
            self._last = []

    def drain(self) -> None:
        """Take no more jobs and give back at once what was claimed ahead; see the rest through."""
        self._draining = True
        self._give_all_back()
        self._store.decline(self.who.worker)  # whether it hears that changes little
        self._nudged.set()

    def be_quiet(self, quiet: bool) -> None:  # noqa: FBT001 - it is what the name says
        """Claim nothing from now on, or claim again; what is held goes on."""
        self._quiet = quiet
        if quiet:
            self._store.decline(self.who.worker)
        else:
            self._empty_until = 0.0
        self._nudged.set()

    def stop_running(self, reason: str, *, grace: float) -> None:
        """Ask every running job to stop because the worker does, within `grace` seconds."""
        for control in list(self._running.values()):
            ask(control, StopRequest("shutdown", reason, min(grace, control.job.options.grace)))

    def abandon(self) -> list[tuple[Kind, Report]]:
        """Give up all that is held; returns what to report of it once its code has ended.

        The code of threads ends with this process. They stay leased until then, and if nobody
        reports them, whoever finds the worker dead hands them back.
        """
        held = list(self._running.values())
        left = self.disown()
        for control in held:
            control.stop(StopRequest("lost", LEAVING))
        return left

    def disown(self) -> list[tuple[Kind, Report]]:
        """`abandon` without a word to the jobs: for when the loop stands still, from any thread."""
        left: list[tuple[Kind, Report]] = []
        for control in list(self._running.values()):
            job, request = control.job, control.stop_request or StopRequest("shutdown", LEAVING)
            outcome = outcome_of(Stopped(), request, job.options.on_shutdown)
            if outcome is not None:
                left.append((control.task.kind, Report(job.id, job.lease, outcome)))
        self.handed_back += sum(isinstance(report.outcome, Interrupted) for _, report in left)
        self._running.clear()
        if self._board is not None:
            self._board.clear()
        self._nudged.set()
        return left

    def unreported(self) -> list[Report]:
        """Return what nobody has told the store yet, when the loop itself cannot go on."""
        self._draining = True
        self._give_all_back()
        last, self._last = self._last, []
        return [*last, *self._reporting, *self._reports]

    def hear(self, hint: Hint) -> None:
        """Take a store's hint. Called in the event loop."""
        match hint.kind:
            case "work" | "quiet":
                self._hints += 1
                self._empty_until = 0.0
                self._nudged.set()
            case "cancel":
                self._leases.hear(hint.subjects)
            case _:
                return

    # -- slots ---------------------------------------------------------------------------------

    async def _slot(self) -> None:
        while True:
            job, claim = await self._ready.next()
            # Looked at here as well, as it is so for hardly any job.
            late = self._elapsed() > claim.asked_at + self._late_after
            if late and self._leases.is_late(claim):
                self._hand_back([job])
            else:
                await self._run_job(job)

    async def _run_job(self, job: JobRecord) -> None:
        task = self._tasks.get(job.task)
        if task is None:
            self._report(job, unknown_task(job, self._app))
            return
        control = JobControl(job, task, self._output)
        older = self._running.get(job.id)
        if older is not None:  # its lease ended unnoticed, and the job came back to this worker
            ask(older, StopRequest("lost", LOST))
        self._running[job.id] = control
        if not self._shipping.awake:
            self._shipping.wake()
        timeout = job.options.timeout
        alarm = None if timeout is None else set_alarm(control, timeout)
        place = None if self._board is None else self._board.record_start(job.id)
        try:
            ending = await self._runners[task.kind].run(control)
        except Exception as error:  # noqa: BLE001 - a runner's own bug must not end the worker
            ending = Failed(error_info(error))
        if self._board is not None and place is not None:
            self._board.record_end(place)
        if alarm is not None:
            alarm()
        control.ended = True
        if self._running.get(job.id) is not control:
            return  # abandoned; or its lease ended, and this worker has claimed the job anew
        del self._running[job.id]
        outcome = outcome_of(ending, control.stop_request, job.options.on_shutdown)
        if outcome is None:
            log.warning("job.lost id=%s task=%s lease=%d", job.id, job.task, job.lease)
            self._output.discard(job)
            return
        if isinstance(outcome, Interrupted):
            self.handed_back += 1
        self._report(job, outcome)

    def _report(self, job: JobRecord, outcome: Outcome) -> None:
        self._output.finish(job)
        self._reports.append(Report(job.id, job.lease, outcome))
        self.finished += 1
        self._nudged.set()
        self._draining = self._draining or self.finished >= self._most

    # -- claiming and settling -----------------------------------------------------------------

    async def _feed(self) -> None:
        backoff = DoublingBackoff(FIRST_PAUSE, LONGEST_PAUSE)
        while not (self._draining and not self._running and not self._reports):
            reports, self._reports = self._reports, []
            self._reporting = reports
            room = self._room()
            if not reports and not room:
                await self._nap()
                continue
            self._exchanging = True
            try:
                await self._exchange(reports, room)
                backoff.reset()
            except UnavailableError as error:
                # Nothing that ended may be lost: the reports wait until the store is back.
                self._reports = reports + self._reports
                pause = backoff.next_pause()
                log.error("store.unavailable retry_in=%.1f error=%s", pause, error)  # noqa: TRY400 - no traceback helps here
                await asyncio.sleep(pause)
            finally:
                self._exchanging = False
                self._reporting = []

    async def _exchange(self, reports: list[Report], room: int) -> None:
        # What jobs wrote and said goes first: after the settling their leases are void.
        shipment = await self._shipping.first()
        asked = prefetch.wants(self._shares, room, strict=self._strict) if room else []
        hints = self._hints
        asked_at = self._leases.expect()
        claimed: tuple[JobRecord, ...] = ()
        try:
            answer = await self._store.exchange(reports, asked, self.who, limit=room)
            claimed = answer.jobs if self.who.confirm_within is None else ()
        finally:
            claim = self._leases.took(claimed, asked_at)
        if room and not answer.jobs and hints == self._hints:
            self._empty_until = self._elapsed() + self._poll
        self._take(answer, reports, claim)
        await self._shipping.settle(shipment)

    def _take(self, answer: Exchanged, reports: list[Report], claim: Claim) -> None:
        if len(answer.settled) != len(reports):
            settled = set(answer.settled)
            for report in reports:
                if report.id not in settled:
                    log.warning("report.stale id=%s lease=%d", report.id, report.lease)
        if self._draining:
            self._hand_back(answer.jobs)
        elif self.who.confirm_within is None:
            self._ready.add(answer.jobs, claim)
        else:
            self._unconfirmed.take(answer.jobs, claim)

    def _room(self) -> int:
        if self._draining or self._quiet or self._elapsed() < self._empty_until:
            return 0
        free = int(min(self.slots + self._pace.ahead, self._most - self.finished)) - self.held
        # Asking for a few at a time while many are still held would undo the batching.
        return 0 if self._ready and free <= self._pace.ahead // 2 else max(0, free)

    async def _nap(self) -> None:
        self._nudged.clear()
        self._pace.measure(self.finished)
        wait = self._poll
        if not self._draining and self._empty_until:
            wait = max(0.0, self._empty_until - self._elapsed()) or self._poll
        await wait_for_event(self._nudged, wait)
        self._pace.measure(self.finished)

    def _give_back(self, count: int) -> None:
        self._hand_back(self._ready.take_back(count))

    def _give_all_back(self) -> None:
        self._give_back(len(self._ready))
        self._hand_back(self._unconfirmed.withdraw())

    def _hand_back(self, jobs: Iterable[JobRecord]) -> None:
        """Report that these have not begun here, and are somebody else's."""
        self._reports += [Report(job.id, job.lease, Interrupted()) for job in jobs]
        self._nudged.set()

    # -- leases and output ---------------------------------------------------------------------

    async def _trim(self) -> None:
        """Give back now and then what was claimed ahead of jobs that have become slow."""
        while True:
            await asyncio.sleep(min(1.0, self.who.lease_for / 4))
            surplus = len(self._ready) - self._pace.ahead
            if surplus > 0 and len(self._running) >= self.slots:
                self._give_back(surplus)

    def _held_jobs(self) -> list[JobRecord]:
        return [*self.running, *self._ready.jobs]

    def _obey(self, lease: Lease, renewal: Renewal) -> None:
        control = self._running.get(lease.id)
        if control is not None and control.job.lease == lease.lease:
            if renewal.verdict == "cancel":
                grace = 0.0 if renewal.forced else None
                ask(control, StopRequest("cancel", renewal.reason, grace))
            else:
                ask(control, StopRequest("lost", LOST))
            return
        # A cancel that was asked for turns this into "cancelled" in the store.
        self._hand_back(self._ready.remove(lease))

    def _learn(self, lease: Lease, renewal: Renewal) -> None:
        """Hear by the way, from an answer to output or progress, that a job is to stop."""
        control = self._running.get(lease.id)
        if control is None or control.job.lease != lease.lease:
            return  # it has ended meanwhile
        asked = control.stop_request
        sharper = asked is None or (renewal.forced and asked.grace != 0.0)
        if sharper or (renewal.verdict == "lost" and not control.abandoned):
            self._obey(lease, renewal)

    def _fence_off(self, lease: Lease) -> None:
        control = self._running.get(lease.id)
        if control is not None and control.job.lease == lease.lease:
            ask(control, StopRequest("fenced", FENCED, self.who.lease_for / 10))
            return
        self._hand_back(self._ready.remove(lease))
