"""`current_job()`: what a running job can read and report about itself."""

from __future__ import annotations

from collections.abc import Generator, Iterable, MutableMapping, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ..errors import JobCancelledError, UsageError
from .bounds import checked_number
from .files import file_name
from .job import JobRecord, Progress, Stream
from .pending import run_sync
from .trace_context import TraceContext

T = TypeVar("T")


class Settable(Protocol):
    """An event that any thread may set."""

    def set(self) -> None:
        """Wake who waits for it."""
        ...


class JobLink(Protocol):
    """The connection of a running job to its runner. Thread-safe."""

    @property
    def job(self) -> JobRecord:
        """The job as it was claimed."""
        ...

    @property
    def waits(self) -> MutableMapping[Settable, str]:
        """What its code waits for in calls of this package, by the event that ends each wait.

        A stop request sets these events.
        """
        ...

    @property
    def trace(self) -> TraceContext | None:
        """The trace that its code is a part of."""
        ...

    @property
    def stopping(self) -> bool:
        """Whether the job was asked to stop."""
        ...

    def wait_for_stop(self, seconds: float) -> bool:
        """Block until the job is asked to stop, at most `seconds`; return whether it was."""
        ...

    def report_progress(self, progress: Progress) -> None:
        """Report the job's progress."""
        ...

    def write(self, stream: Stream, data: bytes) -> None:
        """Capture output of the job."""
        ...

    def folder(self) -> str:
        """Return the job's own directory, which the first call creates."""
        ...

    def register_artifact(self, name: str, path: str) -> None:
        """Store a file as an artifact, as it is when the job's code has ended."""
        ...

    async def complete(self, connection: object, result: object, *, in_coroutine: bool) -> None:
        """Have the commit of a connection's transaction complete the job."""
        ...


class CurrentJob:
    """The job that this code runs in. Any thread of the job may call its methods."""

    __slots__ = ("_link",)

    def __init__(self, link: JobLink) -> None:
        self._link = link

    @property
    def id(self) -> str:
        """The job's id."""
        return self._link.job.id

    @property
    def task(self) -> str:
        """The name of the task."""
        return self._link.job.task

    @property
    def queue(self) -> str:
        """The name of the queue the job came from."""
        return self._link.job.queue

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self._link.job.attempt

    @property
    def is_last_attempt(self) -> bool:
        """Whether the job is discarded if this attempt fails, because no retry is left.

        `retry_on` and the loss of the worker (`crash_limit`) can discard it earlier.
        """
        return not self._link.job.has_retries_left

    @property
    def lease(self) -> int:
        """The fencing token, which grows with each claim of this job.

        Pass it to the systems that the job writes to, and let them refuse a lower one than they
        have seen (Kleppmann, "How to do distributed locking", 2016).
        """
        return self._link.job.lease

    @property
    def meta(self) -> dict[str, Any]:
        """A copy of the dictionary that the producer attached with `meta=`."""
        # Jobs without options share theirs, and a store in memory has this one.
        return deepcopy(self._link.job.options.meta)

    @property
    def cancelled(self) -> bool:
        """Whether the job was asked to stop. Blocking code should check this regularly."""
        return self._link.stopping

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Report progress: `done` of `total`, with a message of at most 500 characters.

        Cheap: only the latest report is stored, a few times a second. UsageError if a number is not
        finite.
        """
        # Bytes that are not characters, as in some file names, could not be stored.
        text = message[:500].encode(errors="backslashreplace").decode()
        self._link.report_progress(
            Progress(
                checked_number(done, "progress: done"),
                None if total is None else checked_number(total, "progress: total"),
                text,
            )
        )

    def sleep(self, seconds: float) -> None:
        """Block for `seconds`. Raises JobCancelledError as soon as the job is asked to stop."""
        if self._link.wait_for_stop(seconds):
            raise JobCancelledError(self.id, f"job {self.id} was asked to stop")

    def track(
        self, items: Iterable[T], total: float | None = None, message: str = ""
    ) -> Generator[T]:
        """Iterate over `items`, reporting progress after each one.

        Raises JobCancelledError between two items if the job is asked to stop. `total` is the
        number of items; by default `len(items)`, if it has a length.
        """
        if total is None and isinstance(items, Sized):
            total = len(items)
        for done, item in enumerate(items):
            self.check()
            self.progress(done, total, message)
            yield item
            if total is not None and done + 1 == total:
                self.progress(total, total, message)

    def check(self) -> None:
        """Raise JobCancelledError if the job was asked to stop."""
        if self._link.stopping:
            raise JobCancelledError(self.id, f"job {self.id} was asked to stop")

    @property
    def folder(self) -> Path:
        """The job's own directory, with its inputs (`files=`); removed after the job.

        The first access creates it. Files in it that match `artifacts=` are stored.
        """
        return Path(self._link.folder())

    def artifact(self, path: str | Path, name: str | None = None) -> None:
        """Store a file, as it is when the job ends, for `Job.download(name, ...)`.

        A relative `path` lies in `folder`. `name` defaults to that relative path or, for an
        absolute path, to its last part. UsageError if there is no such file.
        """
        given = Path(path)
        full = given if given.is_absolute() else self.folder / given
        if not full.is_file():
            raise UsageError(f"artifact {str(full)!r} does not exist or is not a file")
        known = name or (given.name if given.is_absolute() else given.as_posix())
        self._link.register_artifact(file_name(known), str(full))

    def complete_in(self, connection: object, result: object = None) -> None:
        """Complete the job in the transaction of `connection`: at its commit, if that succeeds.

        So what the transaction writes and the job's success are one: neither happens without the
        other, however this process ends. `connection` is one of those that `using(connection=)`
        takes, to the PostgreSQL database that has the jobs. `result` becomes the job's result; what
        the function returns later does not count. The function may go on after the commit; if the
        transaction is rolled back, the job ends as if this had not been called.

        Raises InvalidTransitionError if this attempt no longer holds the job: roll back then. The
        commit fails (SQLSTATE CV010) if the attempt loses the job between this call and the commit,
        and in an isolation level above READ COMMITTED also if the lease was renewed since the
        transaction began. UsageError for another kind of store or connection, or a transaction that
        has failed or is read-only; UnavailableError if the connection's user lacks the right;
        EncodingError for a result above 1 MiB or one that does not match the annotation. Other
        errors of the database are raised as the driver's own.
        """
        run_sync(self._link.complete(connection, result, in_coroutine=False))

    async def acomplete_in(self, connection: object, result: object = None) -> None:
        """`complete_in` for coroutines, on an async connection."""
        await self._link.complete(connection, result, in_coroutine=True)

    def write_output(self, stream: Stream, data: bytes) -> None:
        """Add to the job's captured output."""
        self._link.write(stream, data)


CURRENT: ContextVar[CurrentJob | None] = ContextVar("conveyor_current_job", default=None)


def link_of(job: CurrentJob) -> JobLink:
    """Return a job's connection to its runner."""
    return job._link  # noqa: SLF001 - this module's own class


@contextmanager
def waiting_for(what: str, event: Settable) -> Generator[None]:
    """Note, within the context, that the current job waits for `event`, and for what, if any."""
    job = CURRENT.get()
    if job is None:
        yield
        return
    waits = link_of(job).waits
    waits[event] = what
    try:
        yield
    finally:
        del waits[event]


def current_trace() -> TraceContext | None:
    """Return the trace of the job that this code runs in; None outside of a job, or without one."""
    job = CURRENT.get()
    return None if job is None else link_of(job).trace


def check_stop() -> None:
    """Raise JobCancelledError if this code runs in a job that was asked to stop."""
    job = CURRENT.get()
    if job is not None:
        job.check()


def current_job() -> CurrentJob:
    """Return the job that this code runs in; UsageError outside of a job."""
    job = CURRENT.get()
    if job is None:
        raise UsageError("current_job() was called outside of a running job")
    return job
