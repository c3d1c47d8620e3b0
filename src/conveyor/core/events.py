"""The events of workers and scalers: what has happened, as plain, frozen data.

Event
├── JobEvent
│   ├── JobRescued           job.rescued      its worker is gone, and another one returned it
│   └── JobAttempt           with the job
│       ├── JobStarted       job.started      its code starts
│       └── JobEnded         an attempt is over, and the store has accepted that
│           ├── JobSucceeded job.succeeded
│           ├── JobRetrying  job.retrying     failed, and runs again
│           ├── JobDiscarded job.discarded    failed for the last time, or will never run
│           ├── JobCancelled job.cancelled    stopped on request
│           ├── JobSnoozed   job.snoozed      raised Snooze
│           └── JobReleased  job.released     returned to its queue; the attempt does not count
├── WorkerEvent
│   ├── WorkerStarted        worker.started
│   ├── WorkerPaused         worker.paused    claims nothing until resumed
│   ├── WorkerResumed        worker.resumed
│   ├── WorkerDraining       worker.draining  claims nothing more
│   └── WorkerStopped        worker.stopped   all that it held was reported or given up
└── ScalerActed              scaler.acted     machines were started or stopped, or that failed
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from .job import ErrorInfo, JobRecord, State, WorkerInfo
from .record import Record


class Event(Record, frozen=True, kw_only=True):
    """Something that has happened. `at` is Unix seconds by the store's clock."""

    name: ClassVar[str] = "event"

    at: float

    def to_dict(self) -> dict[str, Any]:
        """Return the event's name and its fields as plain data, without exception objects."""
        return {"event": self.name, **msgspec.to_builtins(self)}


class JobEvent(Event, frozen=True, kw_only=True):
    """Something that happened to a job. `worker` is the id of the worker that reports it."""

    name: ClassVar[str] = "job"

    worker: str
    job_id: str


class JobAttempt(JobEvent, frozen=True, kw_only=True):
    """A job event with the job, as it was claimed: its state is "running"."""

    job: JobRecord

    def to_dict(self) -> dict[str, Any]:
        """Return the event's name and its fields as plain data, without exception objects."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        fields["job"] = self.job.to_dict()
        fields.pop("exception", None)
        return {"event": self.name, **msgspec.to_builtins(fields)}


class JobStarted(JobAttempt, frozen=True, kw_only=True):
    """A worker starts an attempt, which the store has assigned to it.

    `waited` is for how long the job could have run before, in seconds.
    """

    name: ClassVar[str] = "job.started"

    waited: float


class JobEnded(JobAttempt, frozen=True, kw_only=True):
    """An attempt is over, and the store has accepted how. `ran` is its run time in seconds.

    `state` is the state of the job that the store has decided on. `ran` is 0 if no code ran.
    """

    name: ClassVar[str] = "job.ended"

    state: State
    ran: float = 0.0


class JobSucceeded(JobEnded, frozen=True, kw_only=True):
    """The job has completed."""

    name: ClassVar[str] = "job.succeeded"


class JobRetrying(JobEnded, frozen=True, kw_only=True):
    """The attempt failed, and the job runs again.

    `exception` is what the job raised, if it ran in this process; otherwise None.
    """

    name: ClassVar[str] = "job.retrying"

    error: ErrorInfo
    exception: BaseException | None = None


class JobDiscarded(JobEnded, frozen=True, kw_only=True):
    """The job has failed for the last time, or will never run: it expired, say.

    `exception` is what the job raised, if it ran in this process; otherwise None.
    """

    name: ClassVar[str] = "job.discarded"

    error: ErrorInfo
    exception: BaseException | None = None


class JobCancelled(JobEnded, frozen=True, kw_only=True):
    """The job was stopped on request, and its code has ended. `reason` says why."""

    name: ClassVar[str] = "job.cancelled"

    reason: str


class JobSnoozed(JobEnded, frozen=True, kw_only=True):
    """The job asked to run again in `delay` seconds; the attempt does not count."""

    name: ClassVar[str] = "job.snoozed"

    delay: float


class JobReleased(JobEnded, frozen=True, kw_only=True):
    """The job was returned to its queue, and the attempt does not count. `reason` says why."""

    name: ClassVar[str] = "job.released"

    reason: str


class JobRescued(JobEvent, frozen=True, kw_only=True):
    """The attempt of a worker that is gone was ended by this one; its job runs again, or ended."""

    name: ClassVar[str] = "job.rescued"


class WorkerEvent(Event, frozen=True, kw_only=True):
    """Something that happened to a worker, of which this is the id, as it describes itself."""

    name: ClassVar[str] = "worker"

    worker: str
    info: WorkerInfo


class WorkerStarted(WorkerEvent, frozen=True, kw_only=True):
    """The worker has started to look for jobs."""

    name: ClassVar[str] = "worker.started"


class WorkerPaused(WorkerEvent, frozen=True, kw_only=True):
    """The worker claims nothing until it is resumed; what runs goes on."""

    name: ClassVar[str] = "worker.paused"


class WorkerResumed(WorkerEvent, frozen=True, kw_only=True):
    """The worker claims jobs again."""

    name: ClassVar[str] = "worker.resumed"


class WorkerDraining(WorkerEvent, frozen=True, kw_only=True):
    """The worker claims nothing more, and exits when its jobs have ended."""

    name: ClassVar[str] = "worker.draining"


class WorkerStopped(WorkerEvent, frozen=True, kw_only=True):
    """The worker has ended. `undelivered` outcomes could not be reported to the store."""

    name: ClassVar[str] = "worker.stopped"

    undelivered: int = 0


class ScalerActed(Event, frozen=True, kw_only=True):
    """A scaler beside the worker acted, or tried to.

    `did` is what: "start", "start_failed", "drain", "drain_refused", "stop", "stopped",
    "stop_failed", "stop_refused", "forget", "forget_refused" or "left". `subject` is the pool, the
    machine or the worker, and `count` the number of machines.
    """

    name: ClassVar[str] = "scaler.acted"

    did: str
    subject: str
    why: str
    count: int = 1


EVENTS: tuple[type[Event], ...] = (
    JobStarted,
    JobSucceeded,
    JobRetrying,
    JobDiscarded,
    JobCancelled,
    JobSnoozed,
    JobReleased,
    JobRescued,
    WorkerStarted,
    WorkerPaused,
    WorkerResumed,
    WorkerDraining,
    WorkerStopped,
    ScalerActed,
)
