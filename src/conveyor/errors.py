"""Every exception this package raises on purpose.

ConveyorError
├── UsageError                 a wrong call, option or setting
│   ├── EncodingError          an argument or result that JSON cannot hold, or that is too large
│   │   └── StaleArgumentsError stored arguments do not match the function's signature
│   ├── UnknownTaskError       no task of that name is registered here
│   └── DuplicateIdError       another job has this id already; nothing was enqueued
├── NotFoundError              no such job, queue, schedule, worker or token
├── QueueFullError             the queue is at its capacity; nothing was enqueued
│   └── BatchTooLargeError     more jobs in one call than the queue's capacity; waiting is useless
├── AccessError                the token is unknown, or does not allow the call
├── InvalidTransitionError     the job's state does not allow the change
│   └── BusyError              the worker has running jobs
├── JobError                   the job ended without a result
│   ├── JobDiscardedError      its last attempt failed, or it expired or was dropped
│   └── JobCancelledError      it was cancelled
├── WaitTimeoutError           the job is not final yet (also a TimeoutError)
└── UnavailableError           the store cannot be reached or used; safe to retry
    ├── PassingError           a server that is temporarily unreachable
    ├── StoreVersionError      the file was written by a newer or unknown version
    └── CorruptStoreError      the file is damaged, or not a Conveyor store
"""


class ConveyorError(Exception):
    """The base class of all errors that this package raises on purpose."""


class UsageError(ConveyorError, ValueError):
    """A wrong call, option or setting. The message says how to fix it."""


class EncodingError(UsageError):
    """A value that JSON cannot hold, that does not match its annotation, or that is too large."""


class StaleArgumentsError(EncodingError):
    """The arguments of a stored job do not match the signature that the function has here."""


class UnknownTaskError(UsageError):
    """No task of that name is registered in this process."""


class DuplicateIdError(UsageError):
    """A job with this id is in the store already, or twice in one call. Nothing was enqueued."""


class NotFoundError(ConveyorError, LookupError):
    """There is no such job, queue, schedule, worker or token."""


class QueueFullError(ConveyorError):
    """The queue is at its capacity, and the producer does not wait or has waited long enough.

    `depth` is how many jobs wait in `queue`, `size` how many were to be added to them. Nothing was
    enqueued.
    """

    def __init__(self, queue: str, depth: int, capacity: int, size: int = 1) -> None:
        self.queue, self.depth, self.capacity, self.size = queue, depth, capacity, size
        super().__init__(self._describe())

    def __reduce__(self) -> tuple[type["QueueFullError"], tuple[str, int, int, int]]:
        return type(self), (self.queue, self.depth, self.capacity, self.size)

    def _describe(self) -> str:
        return (
            f"queue {self.queue!r} is full ({self.depth}/{self.capacity}), cannot add {self.size}: "
            "wait longer (wait=seconds), raise its capacity or add workers"
        )


class BatchTooLargeError(QueueFullError):
    """The call has more jobs than the queue's capacity, so there is never room for all of them."""

    def _describe(self) -> str:
        return (
            f"{self.size} jobs at once never fit into queue {self.queue!r}, whose capacity is "
            f"{self.capacity}: enqueue at most {max(self.capacity, 1)} at once, or raise its "
            "capacity"
        )


class AccessError(ConveyorError):
    """The server does not know the token (`unknown`), or the token does not allow the call."""

    def __init__(self, message: str, *, unknown: bool = False) -> None:
        self.unknown = unknown
        super().__init__(message)


class InvalidTransitionError(ConveyorError):
    """The state of the job or worker does not allow the change."""


class BusyError(InvalidTransitionError):
    """The worker has running jobs and cannot be removed without force."""


class JobError(ConveyorError):
    """The job `job_id` ended without a result."""

    def __init__(self, job_id: str, message: str) -> None:
        self.job_id = job_id
        super().__init__(message)

    def __reduce__(self) -> tuple[type["JobError"], tuple[str, str]]:
        return type(self), (self.job_id, str(self))


class JobDiscardedError(JobError):
    """The job's last attempt failed, or it expired or was dropped before it ran."""


class JobCancelledError(JobError):
    """The job was cancelled before it could finish."""


class WaitTimeoutError(ConveyorError, TimeoutError):
    """The job was not final within the caller's timeout. It continues to run or wait."""


class UnavailableError(ConveyorError):
    """The store cannot be reached or written to right now; the call may be retried."""


class PassingError(UnavailableError):
    """The server is temporarily unreachable or unavailable; retrying soon may succeed."""


class StoreVersionError(UnavailableError):
    """The store was written by a version of Conveyor that this one cannot read."""


class CorruptStoreError(UnavailableError):
    """The file is damaged, or is not a Conveyor store."""


class Snooze(Exception):  # noqa: N818 - raised to ask for something, not to report an error
    """Raise this in a job to run it again after `delay` seconds without counting the attempt."""

    def __init__(self, delay: float) -> None:
        self.delay = float(delay)
        super().__init__(f"run again in {self.delay} s")

    def __reduce__(self) -> tuple[type["Snooze"], tuple[float]]:
        return Snooze, (self.delay,)
