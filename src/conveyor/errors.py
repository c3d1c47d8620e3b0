"""Every exception this package raises on purpose.

ConveyorError
├── UsageError                 a call, option or setting that cannot mean anything
│   ├── EncodingError          an argument or result that JSON cannot hold, or that is too large
│   └── UnknownTaskError       no task of that name is registered here
├── NotFoundError              no such job, queue, schedule, worker or token
├── QueueFullError             the queue is at its capacity; nothing was enqueued
├── AccessError                the server does not know the token, or it does not allow that
├── InvalidTransitionError     the lifecycle forbids that move
│   └── BusyError              the worker holds jobs
├── JobError                   the job ended without a result
│   ├── JobDiscardedError      its last attempt failed, or it expired or was dropped
│   └── JobCancelledError      it was cancelled
├── WaitTimeoutError           the job is not final yet (also a TimeoutError)
└── UnavailableError           the store cannot be reached or used; safe to retry
    ├── PassingError           a server that is away, and may be there in a moment
    ├── StoreVersionError      the file was written by a newer or unknown version
    └── CorruptStoreError      the file is damaged, or not a Conveyor store
"""


class ConveyorError(Exception):
    """The root of every error this package raises on purpose."""


class UsageError(ConveyorError, ValueError):
    """A call, an option or a setting that cannot mean anything. Says how to fix it."""


class EncodingError(UsageError):
    """A value that JSON cannot hold, does not fit its annotation, or is too large."""


class UnknownTaskError(UsageError):
    """No task of that name is registered in this process."""


class NotFoundError(ConveyorError, LookupError):
    """There is no such job, queue, schedule, worker or token."""


class QueueFullError(ConveyorError):
    """The queue is at its capacity and the producer did not want to wait (longer).

    `queue`, `depth` (jobs that wait) and `capacity` say how full. Nothing was enqueued.
    """

    def __init__(self, queue: str, depth: int, capacity: int, size: int = 1) -> None:
        self.queue, self.depth, self.capacity, self.size = queue, depth, capacity, size
        super().__init__(
            f"queue {queue!r} is full: {depth} of {capacity} places are taken and {size} more "
            "were asked for. Wait longer (wait=seconds), raise its capacity or add workers."
        )

    def __reduce__(self) -> tuple[type["QueueFullError"], tuple[str, int, int, int]]:
        return QueueFullError, (self.queue, self.depth, self.capacity, self.size)


class AccessError(ConveyorError):
    """The server does not know the token (`unknown`), or the token does not allow that."""

    def __init__(self, message: str, *, unknown: bool = False) -> None:
        self.unknown = unknown
        super().__init__(message)


class InvalidTransitionError(ConveyorError):
    """The job, or worker, is not in a state from which that move is possible."""


class BusyError(InvalidTransitionError):
    """The worker holds running jobs, so it cannot just be removed."""


class JobError(ConveyorError):
    """The job ended without a result. `job_id` names it."""

    def __init__(self, job_id: str, message: str) -> None:
        self.job_id = job_id
        super().__init__(message)

    def __reduce__(self) -> tuple[type["JobError"], tuple[str, str]]:
        return type(self), (self.job_id, str(self))


class JobDiscardedError(JobError):
    """The job's last attempt failed, or it expired or was dropped unrun."""


class JobCancelledError(JobError):
    """The job was cancelled before it could finish."""


class WaitTimeoutError(ConveyorError, TimeoutError):
    """The job did not become final in the time the caller gave."""


class UnavailableError(ConveyorError):
    """The store cannot be reached or written to right now; the call may be repeated."""


class PassingError(UnavailableError):
    """The server could not be reached, or it says so of itself: a moment later it may be there."""


class StoreVersionError(UnavailableError):
    """The store was written by a version of Conveyor that this one does not know."""


class CorruptStoreError(UnavailableError):
    """The file is damaged, or it is not a Conveyor store at all."""


class Snooze(Exception):  # noqa: N818 - raised to ask for something, not to report an error
    """Raise it in a job to be run again in `delay` seconds, without counting the attempt."""

    def __init__(self, delay: float) -> None:
        self.delay = float(delay)
        super().__init__(f"run again in {self.delay} s")

    def __reduce__(self) -> tuple[type["Snooze"], tuple[float]]:
        return Snooze, (self.delay,)
