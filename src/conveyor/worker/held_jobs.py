"""The jobs that a worker holds, by lease, each in one phase. Every change of phase is made here.

| from               | method            | to                   | because                         |
|--------------------|-------------------|----------------------|---------------------------------|
| -                  | `add`             | unconfirmed or ready | a claim was answered            |
| unconfirmed        | `confirm`         | ready                | its claim is confirmed          |
| ready              | `start`           | running              | a slot runs its code            |
| ready, running     | `end`             | ended                | its outcome is known            |
| unconfirmed, ready | `release`         | ended                | it is not started here          |
| running            | `release`         | ended                | the machine could not start it  |
| unconfirmed        | `drop`            | gone                 | its lease is lost               |
| running            | `drop`            | gone                 | its lease is lost               |
| running            | `complete`        | gone                 | its application completed it    |
| running            | `abandon_running` | abandoned            | the worker exits without it     |
| abandoned          | `end_abandoned`   | ended                | its code ended with its slot    |

Of an ended job only the report is left, until the store has it (`remove_reported`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from ..core.job import ErrorInfo, JobRecord
from ..core.lifecycle import Failed, Interrupted, Outcome, Succeeded, Unsupported
from ..core.task import Kind
from ..runners.job_control import JobControl, Stopped, StopRequest
from ..store.messages import Lease, Report
from .outcomes import outcome_of

Phase = Literal["unconfirmed", "ready", "running", "abandoned", "ended", "gone"]

# Which phases may precede each: the table above, as data.
FROM: Mapping[Phase, Sequence[Phase]] = {
    "ready": ("unconfirmed",),
    "running": ("ready",),
    "abandoned": ("running",),
    "ended": ("running", "ready", "unconfirmed", "abandoned"),
    "gone": ("unconfirmed", "running"),
}
EXITING = "the worker is exiting"
INTERRUPTED = Interrupted()
# How many tasks a worker names that its code does not support.
MAX_UNSUPPORTED = 20
# The bytes of JSON in which a worker says what its jobs wait for. A server refuses a heartbeat of
# 64 KiB, of which half is for the names of queues and labels.
WAITS_SIZE = 16 << 10
# While jobs are ready, of how many that end one is heard of: the first, too.
MANY = 256
# The error of an attempt whose outcome the store has refused.
REFUSED = "ReportRefused"


class HeldJob(msgspec.Struct, eq=False):
    """One row of the table.

    `sure_at` is when the last claim or renewal of its lease was sent, not when it was answered.
    `fenced`: it was stopped because it could not be renewed in time. `cancel_hinted`: it may have
    been cancelled after the store confirmed it.
    """

    job: JobRecord
    phase: Phase
    sure_at: float
    control: JobControl | None = None
    fenced: bool = False
    cancel_hinted: bool = False

    @property
    def is_completed(self) -> bool:
        """Whether the application has completed it, although its code still runs."""
        return self.control is not None and self.control.completed

    @property
    def lease(self) -> Lease:
        """The lease under which it is held."""
        return Lease(self.job.id, self.job.lease)


class HeldJobs:
    """The table. Its methods do no I/O and never wait; it belongs to one event loop.

    `on_ready` is called with the number of jobs that have become ready, `on_ended` after jobs have
    ended: after each of them, or after one in many while others are ready, `on_left` with the
    reports of which nothing is left here, whatever the store did with them. `finished` counts
    attempts that ended here, `released` jobs that were returned after they had started.
    `unsupported` counts, by task, those that this worker's code could not run.
    """

    def __init__(self) -> None:
        # The rows, by phase. A job may be in two of them: one whose lease ended unnoticed may come
        # back under another while it runs.
        self._unconfirmed: deque[HeldJob] = deque()
        self._ready: deque[HeldJob] = deque()
        self._running: dict[str, HeldJob] = {}
        # What is left of those that are no longer rows.
        self._abandoned: list[tuple[Kind, Report]] = []
        self._reports: list[Report] = []
        self.on_ready: Callable[[int], None] = _ignore_count
        self.on_ended: Callable[[], None] = _ignore
        self.on_left: Callable[[Sequence[Report]], None] = _ignore_reports
        self.finished = self.released = 0
        self.unsupported: dict[str, int] = {}

    # -- what is held --------------------------------------------------------------------------

    def __len__(self) -> int:
        """Return how many jobs are unconfirmed, ready or running."""
        return len(self._running) + len(self._ready) + len(self._unconfirmed)

    def get(self, lease: Lease) -> HeldJob | None:
        """Return the row of a lease."""
        running = self._running.get(lease.id)
        if running is not None and running.job.lease == lease.lease:
            return running
        # Copied, because another thread may ask.
        unstarted = [*self._ready, *self._unconfirmed]
        return next((row for row in unstarted if row.lease == lease), None)

    @property
    def next_ready(self) -> HeldJob | None:
        """The job that a free slot starts next."""
        return self._ready[0] if self._ready else None

    @property
    def ready(self) -> int:
        """How many jobs wait for a slot."""
        return len(self._ready)

    @property
    def running(self) -> list[HeldJob]:
        """The jobs whose code runs."""
        return list(self._running.values())

    @property
    def waits(self) -> dict[str, str]:
        """What running jobs wait for in calls of this package, by their ids.

        Of many only those that have waited for longest, within WAITS_SIZE.
        """
        running = [(row.job.id, row.control) for row in self._running.values()]
        found: dict[str, str] = {}
        size = 0
        for job_id, control in running:
            if control is not None and control.waits:
                what = next(iter(tuple(control.waits.values())), "")
                size += len(msgspec.json.encode((job_id, what)))
                if size > WAITS_SIZE:
                    break
                found[job_id] = what
        return found

    @property
    def is_running(self) -> bool:
        """Whether any job's code runs."""
        return bool(self._running)

    @property
    def renewable(self) -> list[HeldJob]:
        """The jobs whose leases must be renewed: not those that are to be confirmed first."""
        running = [row for row in self._running.values() if not row.is_completed]
        return [*running, *self._ready]

    @property
    def unconfirmed(self) -> list[HeldJob]:
        """The jobs of claims that are not confirmed yet."""
        return list(self._unconfirmed)

    @property
    def reports(self) -> list[Report]:
        """What to report of ended jobs, in the order in which they ended."""
        return self._reports[:]

    @property
    def unreported(self) -> int:
        """How many jobs have ended and are not reported."""
        return len(self._reports)

    @property
    def abandoned(self) -> list[Report]:
        """What to report of abandoned jobs once their code has ended."""
        return [report for _, report in self._abandoned]

    @property
    def threads_left(self) -> list[Report]:
        """What to report of abandoned threads once this process has ended, and their code too."""
        return [report for kind, report in self._abandoned if kind == "thread"]

    # -- changes of phase ----------------------------------------------------------------------

    def add(self, jobs: Iterable[JobRecord], *, asked_at: float, confirmed: bool) -> list[HeldJob]:
        """Hold what a claim gave that was sent at `asked_at`."""
        phase: Phase = "ready" if confirmed else "unconfirmed"
        rows = [HeldJob(job, phase, asked_at) for job in jobs]
        if confirmed:
            self._ready.extend(rows)
            self.on_ready(len(rows))
        else:
            self._unconfirmed.extend(rows)
        return rows

    def confirm(self, row: HeldJob, *, sure_at: float) -> None:
        """Let a slot start a job whose claim the store has confirmed."""
        self._move(row, "ready")
        row.sure_at = sure_at
        self._ready.append(row)
        self.on_ready(1)

    def start(self, row: HeldJob, control: JobControl) -> HeldJob | None:
        """Note that a ready job runs.

        Returns an older attempt of the same job that still runs, if there is one: its lease ended
        unnoticed and the job came back. The older one is dropped.
        """
        older = self._running.get(row.job.id)
        if older is not None:
            self.drop(older)
        self._move(row, "running")
        row.control = control
        self._running[row.job.id] = row
        return older

    def end(self, row: HeldJob, outcome: Outcome) -> None:
        """Note how a job ended, to be reported."""
        if isinstance(outcome, Succeeded):
            self.finished += 1
        elif isinstance(outcome, Unsupported):
            self._count_unsupported(row.job.task)
        else:
            self.finished += 1
            self.released += isinstance(outcome, Interrupted)
        self._move(row, "ended")
        reports = self._reports
        reports.append(Report(row.job.id, row.job.lease, outcome))
        if not self._ready or len(reports) % MANY == 1:
            self.on_ended()

    def _count_unsupported(self, task: str) -> None:
        if task in self.unsupported or len(self.unsupported) < MAX_UNSUPPORTED:
            self.unsupported[task] = self.unsupported.get(task, 0) + 1

    def release(self, row: HeldJob, outcome: Outcome = INTERRUPTED) -> None:
        """Release a job whose code has not started. One with a cancel request is cancelled."""
        self._move(row, "ended")
        self._reports.append(Report(row.job.id, row.job.lease, outcome))
        self.on_ended()

    def release_unstarted(self) -> None:
        """Release every job that is ready or unconfirmed."""
        for row in [*self._ready, *self.unconfirmed]:
            self.release(row)

    def release_surplus(self, count: int) -> None:
        """Release the ready jobs that were claimed last."""
        for row in list(self._ready)[-count:]:
            self.release(row)

    def drop(self, row: HeldJob) -> None:
        """Forget a job whose lease is lost: nothing may be reported of it."""
        self._move(row, "gone")

    def complete(self, row: HeldJob) -> None:
        """Note that the code of a job has ended that the application has completed itself."""
        self.finished += 1
        self._move(row, "gone")
        self.on_ended()

    def abandon_running(self) -> list[HeldJob]:
        """Decide how running jobs end for which the worker does not wait; returns those jobs.

        Any thread may call this while the event loop is blocked.
        """
        rows = self.running
        for row in rows:
            assert row.control is not None, "it runs"
            request = row.control.stop_request or StopRequest("shutdown", EXITING)
            outcome = outcome_of(Stopped(), request, row.job.options.on_shutdown)
            if outcome is None:
                self.drop(row)
                continue
            self.released += isinstance(outcome, Interrupted)
            self._move(row, "abandoned")
            report = Report(row.job.id, row.job.lease, outcome)
            self._abandoned.append((row.control.task.kind, report))
        self.on_ended()
        return rows

    def end_abandoned(self) -> None:
        """Note that abandoned code has ended: all but threads, which end with this process."""
        self._reports += [report for kind, report in self._abandoned if kind != "thread"]
        self._abandoned = [each for each in self._abandoned if each[0] == "thread"]

    def remove_reported(self, reports: Sequence[Report]) -> None:
        """Forget the oldest reports, now that the store has them."""
        del self._reports[: len(reports)]
        self.on_left(reports)

    def refuse_oldest(self, why: str) -> None:
        """Report of the oldest ended job that its outcome was refused; if that was, too, nothing.

        Its work is done, so it is not tried again.
        """
        report = self._reports.pop(0)
        outcome = report.outcome
        if isinstance(outcome, Failed) and outcome.error.type == REFUSED:
            self.on_left([report])
        else:
            error = ErrorInfo(REFUSED, f"the store refused the outcome of this attempt: {why}")
            refused = Report(report.id, report.lease, Failed(error, retry=False))
            self._reports.insert(0, refused)

    def _move(self, row: HeldJob, phase: Phase) -> None:
        before = row.phase
        if before not in FROM[phase]:
            raise AssertionError(f"job {row.job.id} is {before} and cannot become {phase}")
        row.phase = phase
        if before == "running":
            del self._running[row.job.id]
        elif before == "ready":
            self._ready.remove(row)  # mostly the first, so this is fast
        elif before == "unconfirmed":
            self._unconfirmed.remove(row)


def _ignore() -> None:
    """Do nothing."""


def _ignore_count(_count: int) -> None:
    """Do nothing."""


def _ignore_reports(_reports: Sequence[Report]) -> None:
    """Do nothing."""
