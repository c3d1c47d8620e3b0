"""What a running job can learn and say about itself, without being passed anything."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from threading import Event
from typing import Any

from .errors import JobCancelledError, UsageError
from .job import JobRecord, Progress, Stream

Say = Callable[[Progress], None]
Write = Callable[[Stream, bytes], None]


class CurrentJob:
    """The job this code runs in. Its methods may be called from any thread of the job."""

    def __init__(self, record: JobRecord, say: Say, stop: Event, write: Write) -> None:
        self._record = record
        self._say = say
        self._stop = stop
        self.write_output = write

    @property
    def id(self) -> str:
        """The job's id."""
        return self._record.id

    @property
    def task(self) -> str:
        """The name of the task."""
        return self._record.task

    @property
    def queue(self) -> str:
        """The name of the queue the job came from."""
        return self._record.queue

    @property
    def attempt(self) -> int:
        """Which try this is, from 1."""
        return self._record.attempt

    @property
    def lease(self) -> int:
        """The fencing token: it grows with every claim of this job.

        Pass it to whatever the job writes to, and have that refuse a lower one than it has seen
        (Kleppmann, "How to do distributed locking", 2016).
        """
        return self._record.lease

    @property
    def meta(self) -> dict[str, Any]:
        """What the producer attached with `meta=`."""
        return self._record.options.meta

    @property
    def cancelled(self) -> bool:
        """Whether the job was asked to stop. Blocking code looks at this now and then."""
        return self._stop.is_set()

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Say how far the job is. Cheap: only the newest word is stored, a few times a second."""
        self._say(Progress(float(done), None if total is None else float(total), message[:500]))

    def sleep(self, seconds: float) -> None:
        """Block for `seconds`; raises JobCancelledError as soon as the job is asked to stop."""
        if self._stop.wait(seconds):
            raise JobCancelledError(self.id, f"job {self.id} was asked to stop")

    def check(self) -> None:
        """Raise JobCancelledError if the job was asked to stop."""
        if self._stop.is_set():
            raise JobCancelledError(self.id, f"job {self.id} was asked to stop")


CURRENT: ContextVar[CurrentJob | None] = ContextVar("conveyor_current_job", default=None)


def current_job() -> CurrentJob:
    """Return the job this code runs in; UsageError outside of one."""
    job = CURRENT.get()
    if job is None:
        raise UsageError("current_job() was called outside of a running job")
    return job
