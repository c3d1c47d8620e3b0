"""What a running job can learn and say about itself, without being passed anything."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sized
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ..errors import JobCancelledError, UsageError
from .files import file_name
from .job import JobRecord, Progress, Stream

T = TypeVar("T")


class Link(Protocol):
    """How a running job reaches whoever runs it. Any thread may call."""

    @property
    def job(self) -> JobRecord:
        """The job as it was claimed."""
        ...

    @property
    def stopping(self) -> bool:
        """Whether the job was asked to stop."""
        ...

    def wait_for_stop(self, seconds: float) -> bool:
        """Block until the job is asked to stop, at most `seconds`; say whether it was."""
        ...

    def say(self, progress: Progress) -> None:
        """Pass on how far the job is."""
        ...

    def write(self, stream: Stream, data: bytes) -> None:
        """Keep something the job wrote."""
        ...

    def folder(self) -> str:
        """Return the job's own folder, which the first call makes."""
        ...

    def keep(self, name: str, path: str) -> None:
        """Keep a file, as it is when the job's code has ended, under a name."""
        ...


class CurrentJob:
    """The job this code runs in. Its methods may be called from any thread of the job."""

    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
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
        """Which try this is, from 1."""
        return self._link.job.attempt

    @property
    def lease(self) -> int:
        """The fencing token: it grows with every claim of this job.

        Pass it to whatever the job writes to, and have that refuse a lower one than it has seen
        (Kleppmann, "How to do distributed locking", 2016).
        """
        return self._link.job.lease

    @property
    def meta(self) -> dict[str, Any]:
        """What the producer attached with `meta=`."""
        return self._link.job.options.meta

    @property
    def cancelled(self) -> bool:
        """Whether the job was asked to stop. Blocking code looks at this now and then."""
        return self._link.stopping

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Say how far the job is. Cheap: only the newest word is stored, a few times a second."""
        # What is no character (from a file's name, say) could not be stored.
        text = message[:500].encode(errors="backslashreplace").decode()
        self._link.say(Progress(float(done), None if total is None else float(total), text))

    def sleep(self, seconds: float) -> None:
        """Block for `seconds`; raises JobCancelledError as soon as the job is asked to stop."""
        if self._link.wait_for_stop(seconds):
            raise JobCancelledError(self.id, f"job {self.id} was asked to stop")

    def track(
        self, items: Iterable[T], total: float | None = None, message: str = ""
    ) -> Generator[T]:
        """Go through `items`, saying how far the job is, and stop when it is asked to.

        Raises JobCancelledError between two items. `total` is how many there are; None asks
        `items` for its length.
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
        """A folder of the job's own, with its inputs (`files=`). It is removed after the job.

        The first look makes it; its `artifacts=` are looked for in it.
        """
        return Path(self._link.folder())

    def artifact(self, path: str | Path, name: str | None = None) -> None:
        """Keep a file after the job's end, as it is then, for `Job.download(name, ...)`.

        A relative `path` is one in `folder`, and is its name unless another is given. A file from
        elsewhere is called by the last part of its path. UsageError when there is no such file.
        """
        given = Path(path)
        full = given if given.is_absolute() else self.folder / given
        if not full.is_file():
            raise UsageError(f"there is no file {str(full)!r} to keep")
        known = name or (given.name if given.is_absolute() else given.as_posix())
        self._link.keep(file_name(known), str(full))

    def write_output(self, stream: Stream, data: bytes) -> None:
        """Add to the job's captured output."""
        self._link.write(stream, data)


CURRENT: ContextVar[CurrentJob | None] = ContextVar("conveyor_current_job", default=None)


def current_job() -> CurrentJob:
    """Return the job this code runs in; UsageError outside of one."""
    job = CURRENT.get()
    if job is None:
        raise UsageError("current_job() was called outside of a running job")
    return job
