"""Dispatches jobs to slots: claims as many as are free, runs them, reports how they ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from ..core.error_info import error_info
from ..core.event_log import open_event_log
from ..core.job import ErrorInfo, JobRecord
from ..core.lifecycle import Crashed, Failed, Outcome, Succeeded, Unsupported
from ..core.loop_backoff import DoublingBackoff
from ..core.task import Kind, Task
from ..core.timeout import wait_for_event
from ..errors import AccessError, ConveyorError, UnavailableError
from ..job_log import log_failure
from ..runners.caller_completion import CallerCompletions
from ..runners.capture import OutputBuffer
from ..runners.job_control import JobControl, Runner, RunResult, StopRequest
from ..runners.machine_fault import MachineFault
from ..store.messages import Claimant, Exchanged, Hint, Report
from ..store.protocol import Store
from ..system.crash_journal import CrashJournal
from . import prefetch
from .cancellation import LOST, request_stop, start_timeout
from .claim_confirmer import ClaimConfirmer
from .completed_jobs import end_completed
from .held_jobs import HeldJob, HeldJobs
from .idle_slots import IdleSlots
from .job_events import JobEvents
from .lease_renewer import LeaseRenewer
from .machine_probe import MachineProbe
from .options import WorkerOptions
from .outcomes import outcome_of, unknown_task
from .output_sender import OutputSender
from .report_batch import ReportBatch, return_undelivered
from .task_traces import task_traces

log = open_event_log("dispatcher")

# The pauses, in seconds, between attempts to reach the store. What ended meanwhile is reported only
# then.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
CANCELLED_BY_OTHERS = ErrorInfo("CancelledError", "its task was cancelled by other code")


class Dispatcher:
    """Runs jobs in one event loop until it is drained, or has run `options.most` jobs.

    `elapsed` is a monotonic clock that counts the time in which the machine slept.
    """

    def __init__(
        self,
        *,
        store: Store,
        claimant: Claimant,
        tasks: Mapping[str, Task],
        runners: Mapping[Kind, Runner],
        output: OutputBuffer,
        held: HeldJobs,
        leases: LeaseRenewer,
        confirmer: ClaimConfirmer,
        sender: OutputSender,
        machine: MachineProbe,
        completions: CallerCompletions,
        events: JobEvents,
        journal: CrashJournal | None,
        options: WorkerOptions,
        elapsed: Callable[[], float],
    ) -> None:
        self._store, self._claimant, self._elapsed, self._events = store, claimant, elapsed, events
        self._tasks, self._runners, self._options = tasks, runners, options
        self._output, self._journal, self._completions = output, journal, completions
        self._held, self._leases, self._batch = held, leases, ReportBatch(held)
        self._confirmer, self._sender, self._machine = confirmer, sender, machine
        self._idle_slots, self._nudged = IdleSlots(lambda: held.ready), asyncio.Event()
        self._slots: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        held.on_ready, held.on_ended = self._idle_slots.wake, self._nudged.set
        self._draining = self.quiet = self._exchanging = self._ending = False
        # What a worker holds that no beat has made known would wait for its lease if it died.
        self._is_known = store.keeps_call_order
        # Why the store refuses this worker's calls, "" while it does not; and what is called then.
        self.denied = ""
        self.on_denied: Callable[[], None] = self.stop_claiming
        leases.on_denied = self._deny
        self._empty_until, self._work_hints = 0.0, 0
        self._pace = prefetch.Pace(elapsed)
        self._order = prefetch.ClaimOrder(
            options.queues, options.slots + prefetch.MOST_AHEAD, strict=options.strict
        )

    @property
    def idle(self) -> bool:
        """Whether nothing is held, all is reported, and the last look found nothing to claim."""
        busy = len(self._held) or self._held.unreported or self._exchanging
        return not busy and self._empty_until > 0 and not self.sick

    @property
    def sick(self) -> dict[str, str]:
        """The kinds of job that this machine cannot start, and why."""
        return {**self._machine.faults.paused}

    @property
    def draining(self) -> bool:
        """Whether this worker has stopped claiming jobs."""
        return self._draining

    async def run(self) -> None:
        """Work until drained: until every running job has ended and was reported, or abandoned."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for _ in range(self._options.slots):
                self._start_slot()
            beside = [each.run for each in (self._leases, self._confirmer, self._sender)]
            beside += [self._trim, self._machine.run]
            helpers = [group.create_task(self._end_with(each)) for each in beside]
            await self._end_with(self._exchange_until_drained)
            for task in (*self._slots, *helpers):
                task.cancel()
        if self.denied:
            await return_undelivered(self._store, self._held, self._events.settle)
        await self._sender.flush()

    async def _end_with(self, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a loop; once it ends, a cancel of a slot ends that too, and is no job's doing."""
        try:
            await loop()
        finally:
            self._ending = True

    def stop_claiming(self) -> None:
        """Claim nothing more, and release what has not started. Running jobs go on."""
        self._draining = True
        self._held.release_unstarted()
        self._nudged.set()

    def set_quiet(self, quiet: bool) -> None:  # noqa: FBT001 - the name says what it is
        """Claim nothing for now, or claim again; what is held goes on."""
        self.quiet = quiet
        if quiet:
            self._store.decline(self._claimant.worker)
        else:
            self._empty_until = 0.0
        self._nudged.set()

    def note_beat(self, refusal: AccessError | None = None) -> None:
        """Claim jobs from the first beat on; stop if the store refuses even that one."""
        if refusal is not None and not self._is_known:
            self._deny(refusal)
        elif not self._is_known:
            self._is_known = True
            self._nudged.set()

    def claim_anew(self) -> None:
        """End a claim that waits at the server, and claim what may be claimed now."""
        self._store.decline(self._claimant.worker)
        self._empty_until = 0.0
        self._nudged.set()

    def receive(self, hint: Hint) -> None:
        """React to a store's hint. Call it in the event loop."""
        if hint.kind in ("work", "quiet"):
            self._work_hints += 1
            self._empty_until = 0.0
            self._nudged.set()
        elif hint.kind == "cancel":
            self._leases.check_for_cancels(hint.subjects)

    # -- slots ---------------------------------------------------------------------------------

    async def _slot(self) -> None:
        slot = asyncio.current_task()
        assert slot is not None, "it is a task of the group"
        clean = task_traces(slot)
        held, leases, idle = self._held, self._leases, self._idle_slots
        while True:
            row = held.next_ready
            if row is None or not idle.left:
                await self._wait_for_job()
            elif leases.is_late(row):
                held.release(row)
            else:
                idle.left -= 1
                await self._run_job(row, slot)
                if task_traces(slot) != clean:
                    slot.add_done_callback(self._replace_slot)  # its task is the job's own
                    return

    def _start_slot(self) -> None:
        assert self._group is not None, "it runs"
        self._slots.add(self._group.create_task(self._slot()))

    def _replace_slot(self, slot: asyncio.Task[None]) -> None:
        self._slots.discard(slot)
        if not self._ending:
            self._start_slot()

    async def _wait_for_job(self) -> None:
        try:
            await self._idle_slots.wait()
        except asyncio.CancelledError:
            await self._survive_cancel()

    async def _survive_cancel(self, kind: Kind = "coroutine") -> None:
        """Go on after a cancel of this slot by code of a job; raise if the worker ends it."""
        if not self._ending and kind == "coroutine":
            slot = asyncio.current_task()
            while slot is not None and slot.cancelling():
                slot.uncancel()
            # Where everything in the loop was cancelled, the dispatcher ends meanwhile.
            await asyncio.sleep(0)
        if self._ending or kind != "coroutine":
            raise asyncio.CancelledError

    async def _run_job(self, row: HeldJob, slot: asyncio.Task[Any]) -> None:
        job = row.job
        task = self._tasks.get(job.task)
        if task is None:
            outcome = unknown_task(job, self._options.app)
            log_failure(job, outcome)
            self._events.note_unrun(job)
            self._end(row, outcome)
            return
        kind = task.kind
        held, own = self._held, slot if kind == "coroutine" else None
        control = JobControl(job, task, self._output, own, self._completions)
        self._start(row, control)
        timeout = job.options.timeout
        cancel_timeout = None if timeout is None else start_timeout(control, timeout)
        place = None if self._journal is None else self._journal.record_start(job.id)
        try:
            run_result = await self._runners[kind].run(control)
        except asyncio.CancelledError:
            await self._survive_cancel(kind)
            run_result = Failed(CANCELLED_BY_OTHERS)
        except BaseException as error:  # noqa: BLE001 - a runner's own bug must not end the worker
            control.exception, run_result = error, Failed(error_info(error))
        if control.failure is not None:
            run_result = control.failure
        if self._journal is not None and place is not None:
            self._journal.record_end(place)
        if cancel_timeout is not None:
            cancel_timeout()
        control.ended = True
        # Taken from the control, as the exception's traceback refers to the control.
        exception, control.exception = control.exception, None
        if self._events.subscriptions:
            self._events.end(job, exception)
        if row.phase != "running" or (
            control.completing and await end_completed(row, control, run_result, held, self._output)
        ):  # abandoned, back at this worker under a new lease, or completed by the application
            self._draining = self._draining or held.finished >= self._options.most
            if row.phase != "abandoned":  # of which the shutdown reports
                self._events.leave(job, completed=control.completed)
            return
        if isinstance(run_result, Succeeded) and control.stop_request is None:
            if self._machine.has_faults:
                self._machine.record_start(kind)
            self._end(row, run_result)
        else:
            self._end_otherwise(row, control, run_result, exception)

    def _start(self, row: HeldJob, control: JobControl) -> None:
        older = self._held.start(row, control)
        if older is not None and older.control is not None:
            request_stop(older.control, StopRequest("lost", LOST))
        if self._events.subscriptions:
            self._events.start(row.job)
        if not self._sender.awake:
            self._sender.wake()

    def _end_otherwise(
        self,
        row: HeldJob,
        control: JobControl,
        run_result: RunResult,
        exception: BaseException | None,
    ) -> None:
        """End a job that has not simply succeeded."""
        job, kind = row.job, control.task.kind
        if isinstance(run_result, MachineFault) and not control.stopping:
            self._output.finish(job)
            self._held.release(row, self._machine.record(kind, run_result))
            return
        self._machine.record_start(kind)
        outcome = outcome_of(run_result, control.stop_request, job.options.on_shutdown)
        if outcome is None:
            log.warning("job.lost id=%s task=%s lease=%d", job.id, job.task, job.lease)
            self._output.discard(job)
            self._held.drop(row)
            self._events.leave(job, completed=False)
        else:
            if isinstance(outcome, Failed | Crashed | Unsupported):
                # What a job raises when it is stopped, for its timeout, is not why it failed.
                log_failure(job, outcome, None if control.stopping else exception)
            self._end(row, outcome)

    def _end(self, row: HeldJob, outcome: Outcome) -> None:
        self._output.finish(row.job)
        self._held.end(row, outcome)
        self._draining = self._draining or self._held.finished >= self._options.most

    # -- claiming and reporting ----------------------------------------------------------------

    async def _exchange_until_drained(self) -> None:
        backoff = DoublingBackoff(FIRST_PAUSE, LONGEST_PAUSE)
        held = self._held
        while not self._draining or held.is_running or (held.unreported and not self.denied):
            self._pace.measure(held.finished)
            reports_due = self._batch.is_due(self._elapsed(), draining=self._draining)
            room = self._room(reports=reports_due)
            if not room and not reports_due:
                await self._wait_for_change()
                continue
            reports = self._batch.next()
            self._exchanging = True
            try:
                await self._exchange(reports, room)
                backoff.reset()
                self._batch.note_success()
            except UnavailableError as error:  # the reports wait until the store is back
                pause = backoff.next_pause()
                log.error("store.unavailable retry_in=%.1f error=%s", pause, error)  # noqa: TRY400 - no traceback helps here
                await asyncio.sleep(pause)
            except AccessError as error:
                self._deny(error)
                await asyncio.sleep(FIRST_PAUSE)  # running jobs have to end first
            except ConveyorError as error:
                self._batch.note_refusal(reports, error)
                await asyncio.sleep(backoff.next_pause())
            finally:
                self._exchanging = False
                self._batch.note_sent(self._elapsed())

    def _deny(self, error: AccessError) -> None:
        if not self.denied:
            self.denied = str(error)
            self.on_denied()

    async def _exchange(self, reports: Sequence[Report], room: int) -> None:
        # The output of jobs goes first: once they are settled, their leases are void.
        in_flight = await self._sender.send()
        wants = self._order.wants() if room else []
        claimant = self._machine.claimant(self._claimant) or self._claimant
        hints = self._work_hints
        asked_at = self._leases.claim_sent()
        started: Iterable[JobRecord] = ()
        try:
            answer = await self._store.exchange(reports, wants, claimant, limit=room)
            started = answer.jobs if self._claimant.confirm_within is None else ()
        finally:
            self._leases.claim_answered(started)
        if room and not answer.jobs and hints == self._work_hints:
            self._empty_until = self._elapsed() + self._options.poll
        self._apply_answer(answer, reports, asked_at)
        await self._sender.finish(in_flight)

    def _apply_answer(self, answer: Exchanged, reports: Sequence[Report], asked_at: float) -> None:
        self._events.settle(reports, answer)
        self._batch.note_settled(reports, answer.settled)
        confirmed = self._claimant.confirm_within is None
        rows = self._held.add(
            answer.jobs, asked_at=asked_at, confirmed=confirmed and not self._draining
        )
        if self._draining:
            self._held.release_unstarted()
        elif not confirmed:
            self._confirmer.confirm(rows, asked_at)

    def _room(self, *, reports: bool) -> int:
        if self._draining or self.quiet or self._elapsed() < self._empty_until:
            return 0
        if not self._is_known or self._machine.claimant(self._claimant) is None:
            return 0
        return prefetch.claim_limit(
            slots=self._options.slots,
            ahead=self._pace.ahead,
            left=self._options.most - self._held.finished,
            held=len(self._held),
            ready=self._held.ready,
            reports=reports,
        )

    async def _wait_for_change(self) -> None:
        self._nudged.clear()
        wait = self._options.poll
        if not self._draining and self._empty_until:
            wait = max(0.0, self._empty_until - self._elapsed()) or self._options.poll
        await wait_for_event(self._nudged, self._batch.within(wait))

    async def _trim(self) -> None:
        """Release now and then what was claimed ahead of jobs that have become slow."""
        while True:
            await asyncio.sleep(min(1.0, self._claimant.lease_for / 4))
            surplus = self._held.ready - self._pace.ahead
            if surplus > 0 and len(self._held.running) >= self._options.slots:
                self._held.release_surplus(surplus)
