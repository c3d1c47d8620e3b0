"""How a worker exits, step by step.

1. Drain: claim nothing more, release what has not started, let running jobs finish.
2. Stop: after the drain timeout, ask running jobs to stop, within their grace.
3. Abandon: half a second later, decide how the rest ends without waiting for it.
4. Report: once no code of theirs runs any more, report those too.
5. Leave: remove the worker from the store. Not while abandoned threads run: they stay leased until
   this process ends, and are released by what sees that.

A drained worker goes through all of them, a worker whose `run` is cancelled or fails begins at 3,
and one whose process ends at once leaves the reports of 4 to its successor (`abandon_at_exit`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from math import inf

from ..core.event_log import open_event_log
from ..core.job import JobRecord
from ..errors import AccessError, ConveyorError, UnavailableError
from ..maintenance.heartbeat import WorkerHeartbeat
from ..runners.job_control import StopRequest
from ..store.messages import Report
from ..store.protocol import Store
from ..system.crash_journal import CrashJournal
from .cancellation import request_stop
from .dispatcher import Dispatcher
from .held_jobs import EXITING, HeldJob, HeldJobs
from .job_events import JobEvents
from .report_batch import ReportBatch

log = open_event_log("worker")

# At a shutdown, what a job gets to stop, in seconds, whatever its own grace: with the 25 s of
# draining, and what it takes to leave, that is within the 30 s of docker stop and Kubernetes.
SHUTDOWN_GRACE = 3.0
# What it gets beyond that until the worker exits without it.
LEAVE = 0.5
# How long the store may take to remove the worker.
GOODBYE = 1.0
# How often jobs are looked for, while draining, that wait for other jobs, in seconds.
WAITING_POLL = 1.0
# How often the last reports are sent, and the pause in between.
TRIES, PAUSE = 4, 0.1

Phases = Callable[[str, Sequence[JobRecord]], None]


class WorkerShutdown:
    """The exit of one worker. It calls `on_phase` with each step and the jobs still running."""

    def __init__(
        self,
        *,
        store: Store,
        worker: str,
        dispatcher: Dispatcher,
        held: HeldJobs,
        journal: CrashJournal | None,
        events: JobEvents,
    ) -> None:
        self._store = store
        self._events = events
        self._worker = worker
        self._dispatcher = dispatcher
        self._held = held
        self._journal = journal
        self._stopping: asyncio.Task[None] | None = None
        self._stop_at = inf
        self._ended = False
        # Whether jobs had to be stopped, so that there is little time left.
        self.hurried = False
        self.on_phase: Phases = _ignore

    def drain(self, timeout: float) -> None:
        """Step 1, and the others in time. A further call can only bring them forward."""
        self._dispatcher.stop_claiming()
        self._store.decline(self._worker)  # best effort
        if self._stopping is None:
            self.on_phase("draining", self._running())
        if asyncio.get_running_loop().time() + timeout < self._stop_at:
            self._stop_in(timeout)

    def stop_now(self) -> None:
        """Step 2 at once."""
        self._dispatcher.stop_claiming()
        self._store.decline(self._worker)
        self._stop_in(0.0)

    def _stop_in(self, timeout: float) -> None:
        if self._ended:  # a signal or a caller that came too late
            return
        if self._stopping is not None:
            self._stopping.cancel()
        self._stop_at = asyncio.get_running_loop().time() + timeout
        self._stopping = asyncio.ensure_future(self._stop_after(timeout))

    async def _stop_after(self, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        stop_at = loop.time() + timeout
        while self._held.is_running and loop.time() < stop_at:
            # Their waits are for other jobs to run, which this worker no longer claims.
            self._stop_running(waiting=True)
            await asyncio.sleep(min(WAITING_POLL, stop_at - loop.time()))
        await asyncio.sleep(stop_at - loop.time())
        running = self._running()
        if not running:
            return
        self.on_phase("stopping", running)
        self.hurried = True
        self._stop_running()
        longest = max(min(job.options.grace, SHUTDOWN_GRACE) for job in running)
        await asyncio.sleep(longest + LEAVE)
        running = self._running()
        if running:
            self.on_phase("leaving", running)
            self.abandon()

    def _stop_running(self, *, waiting: bool = False) -> None:
        """Ask running jobs to stop; `waiting`: only those that wait for others and run again."""
        for row in self._held.running:
            if row.control is not None:
                released = row.job.options.on_shutdown == "release" and not row.control.stopping
                if waiting and not (row.control.waits and released):
                    continue
                grace = min(SHUTDOWN_GRACE, row.job.options.grace)
                request_stop(
                    row.control, StopRequest("shutdown", "the worker is shutting down", grace)
                )

    def abandon(self) -> None:
        """Step 3: stop waiting for jobs; their code ends with its slot or its process."""
        self.hurried = True
        for row in self._abandon_running():
            assert row.control is not None, "it was running"
            if row.phase == "abandoned":
                log.warning("job.abandoned id=%s kind=%s", row.job.id, row.control.task.kind)
            row.control.stop(StopRequest("lost", EXITING))

    async def report(self) -> None:
        """Step 4, once no code runs here. What cannot be reported is rescued from a dead worker."""
        self._held.end_abandoned()
        batch = ReportBatch(self._held)
        failed = 0
        while failed < TRIES and (reports := batch.next()):
            try:
                answer = await self._store.settle(reports)
            except (UnavailableError, AccessError) as error:
                log.error("store.unavailable reports=%d error=%s", len(reports), error)  # noqa: TRY400 - no traceback helps here
                failed += 1
                await asyncio.sleep(PAUSE)
            except ConveyorError as error:
                batch.note_refusal(reports, error)
            else:
                self._events.settle(reports, answer)
                self._held.remove_reported(reports)
                batch.note_success()

    async def leave(self, heartbeat: WorkerHeartbeat) -> None:
        """Step 5: remove the worker from the store."""
        if self._held.threads_left:
            return
        try:
            async with asyncio.timeout(GOODBYE):
                await heartbeat.leave()
        except (ConveyorError, TimeoutError) as error:
            log.warning("worker.not_removed error=%s", error)
        if self._journal is not None:
            self._journal.close()

    def abandon_at_exit(self) -> list[Report]:
        """Abandon every job, as this process ends now; returns what its successor must report.

        For an event loop that is blocked; any thread may call it.
        """
        self._abandon_running()
        return [*self._held.reports, *self._held.abandoned]

    async def end_tasks(self, *tasks: asyncio.Task[None]) -> None:
        """Cancel the worker's loops, and what is scheduled here, and wait for their end."""
        self._ended = True
        ending = [*tasks, *([] if self._stopping is None else [self._stopping])]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    def _abandon_running(self) -> list[HeldJob]:
        try:
            self._dispatcher.stop_claiming()
            return self._held.abandon_running()
        finally:  # from another thread, the above may meet a change of the loop's
            if self._journal is not None:
                self._journal.clear()  # no job caused this exit

    def _running(self) -> list[JobRecord]:
        return [row.job for row in self._held.running]


def _ignore(_phase: str, _running: Sequence[JobRecord]) -> None:
    """Do nothing."""
