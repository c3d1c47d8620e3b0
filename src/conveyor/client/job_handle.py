"""What a program holds of a job it enqueued: ask how it stands, wait for it, cancel it."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any, Generic, TypeVar, cast

from ..core.codec import ResultCodec
from ..core.files import FileInfo
from ..core.job import AttemptError, JobRecord, Progress, State, StopNote, Stream
from ..core.pending import Pending, run_sync
from ..errors import (
    InvalidTransitionError,
    JobCancelledError,
    JobDiscardedError,
    NotFoundError,
    PassingError,
    UnavailableError,
    UsageError,
    WaitTimeoutError,
)
from ..store.ask import Awaiting, Blocking, Caller, Watch
from ..store.blobs.transfer import download
from ..store.protocol import Store
from ..system.file_threads import FileThreads
from .outage_wait import Patience

T = TypeVar("T")
V = TypeVar("V")

LOOK = 1.0
# How long is waited for the traceback of a job that has failed, in seconds.
LAST_WORDS = 5.0
OUTPUT_PAGE = 1000
OUTPUT_MOST = 100_000


class Job(Generic[T]):
    """One enqueued job. Methods block; their twins with the prefix `a` are for coroutines.

    `existing` says that the unique key was taken and this is the job that holds it.
    """

    __slots__ = ("_record", "_results", "_store", "_watch", "existing", "id")

    def __init__(
        self,
        job_id: str,
        *,
        store: Store,
        watch: Watch,
        results: ResultCodec,
        existing: bool = False,
    ) -> None:
        self.id = job_id
        self.existing = existing
        self._store = store
        self._watch = watch
        self._results = results
        self._record: JobRecord | None = None

    def __repr__(self) -> str:
        state = f" {self._record.state}" if self._record else ""
        return f"<Job {self.id}{state}>"

    def __await__(self) -> Generator[Any, None, T]:
        return self.aresult().__await__()

    @property
    def record(self) -> JobRecord:
        """Everything known about the job, as of the last `refresh` (the first use refreshes)."""
        if self._record is None:
            self._record = self._store.get(self.id).result()
        return self._record

    @property
    def state(self) -> State:
        """The state as of the last `refresh` (the first use refreshes)."""
        return self.record.state

    @property
    def progress(self) -> Progress | None:
        """How far the job said it was, as of the last `refresh`."""
        return self.record.progress

    @property
    def stopping(self) -> tuple[StopNote, ...]:
        """What was done to stop the job, step by step, as of the last `refresh`."""
        return self.record.stopping

    def refresh(self) -> Job[T]:
        """Look at the job again; NotFoundError once it was pruned. Returns itself."""
        self._record = self._store.get(self.id).result()
        return self

    async def arefresh(self) -> Job[T]:
        """`refresh` for coroutines."""
        self._record = await self._store.get(self.id)
        return self

    def wait(self, timeout: float | None = None) -> JobRecord:
        """Block until the job is final and return its record, whatever became of it.

        `timeout` is in seconds; WaitTimeoutError when it runs out (the job goes on). A server that
        is away, or does not answer, is waited for as well, 5 minutes at the most, before
        UnavailableError.
        """
        return run_sync(self._wait(Blocking(), timeout))

    async def await_final(self, timeout: float | None = None) -> JobRecord:
        """`wait` for coroutines."""
        return await self._wait(Awaiting(), timeout)

    def result(self, timeout: float | None = None) -> T:
        """Block until the job is final and return what it returned.

        `timeout` is in seconds. Raises JobDiscardedError (with the last error and its
        traceback), JobCancelledError or WaitTimeoutError; UnavailableError if the server was away
        when the time ran out, or for 5 minutes.
        """
        return run_sync(self._result(Blocking(), timeout))

    async def aresult(self, timeout: float | None = None) -> T:
        """`result` for coroutines; `await job` is the same without a timeout."""
        return await self._result(Awaiting(), timeout)

    def cancel(
        self, wait: float | None = None, *, reason: str = "cancelled", force: bool = False
    ) -> bool:
        """Cancel the job. Returns True once it is cancelled and none of its code runs any more.

        A waiting job is cancelled at once. A running one is asked to stop; `wait` is how many
        seconds to stay for that. False: it still runs, or it ended before it could be stopped;
        `state` and `stopping` say which. `force` leaves out the grace: processes and commands get
        SIGKILL at once. A thread cannot be forced, nor a coroutine that catches CancelledError:
        it is asked again, and stays running until it ends or its worker does.
        """
        return run_sync(self._cancel(Blocking(), wait, reason, force))

    async def acancel(
        self, wait: float | None = None, *, reason: str = "cancelled", force: bool = False
    ) -> bool:
        """`cancel` for coroutines."""
        return await self._cancel(Awaiting(), wait, reason, force)

    def history(self) -> list[AttemptError]:
        """Return every attempt that did not succeed, oldest first."""
        return self._store.history(self.id).result()

    def logs(self, stream: Stream | None = None) -> str:
        """Return what the job wrote so far: stdout, stderr and logging, in order of writing."""
        text = bytearray()
        after = 0
        while len(text) < OUTPUT_MOST * OUTPUT_PAGE:
            page = self._store.output(self.id, after=after, limit=OUTPUT_PAGE).result()
            for chunk in page:
                if stream is None or chunk.stream == stream:
                    text += chunk.data
            if len(page) < OUTPUT_PAGE:
                break
            after = page[-1].seq
        return text.decode(errors="replace")

    def artifacts(self) -> list[FileInfo]:
        """Return the files that the job has left so far, by name."""
        return run_sync(self._artifacts(Blocking()))

    async def aartifacts(self) -> list[FileInfo]:
        """`artifacts` for coroutines."""
        return await self._artifacts(Awaiting())

    def download(self, name: str, path: str | os.PathLike[str]) -> FileInfo:
        """Write an artifact to a file, which is there as a whole or not at all.

        NotFoundError if the job has left none of that name. A download that was cut short goes on
        where it was.
        """
        return run_sync(self._download(Blocking(), name, os.fspath(path)))

    async def adownload(self, name: str, path: str | os.PathLike[str]) -> FileInfo:
        """`download` for coroutines."""
        return await self._download(Awaiting(), name, os.fspath(path))

    async def _artifacts(self, caller: Caller) -> list[FileInfo]:
        files = await caller.answer(self._store.files(self.id))
        return [each for each in files if each.kind == "artifact"]

    async def _download(self, caller: Caller, name: str, path: str) -> FileInfo:
        artifacts = await self._artifacts(caller)
        file = next((each for each in artifacts if each.name == name), None)
        if file is None:
            known = ", ".join(each.name for each in artifacts) or "none"
            raise NotFoundError(f"job {self.id} has no artifact {name!r}; there are: {known}")
        try:
            await download(file, path, store=self._store, caller=caller, errands=FileThreads())
        except OSError as error:
            raise UsageError(f"{path!r} cannot be written: {error}") from error
        return file

    async def _wait(
        self, caller: Caller, timeout: float | None, patience: Patience | None = None
    ) -> JobRecord:
        patience = patience or Patience(timeout)
        record = await self._look(caller, patience)
        if record is None or not record.is_final:
            record = await self._stay(caller, timeout, patience)
        self._record = record
        return record

    async def _stay(self, caller: Caller, timeout: float | None, patience: Patience) -> JobRecord:
        bell = caller.bell()
        with self._watch.on("final", self.id, bell):
            while True:
                record = await self._look(caller, patience)
                if record is not None and record.is_final:
                    return record
                left = patience.left
                if record is not None and left <= 0:
                    self._record = record
                    raise WaitTimeoutError(
                        f"job {self.id} is still {record.state} after {timeout} s; it goes on. "
                        f"`conveyor why {self.id}` says what it waits for."
                    )
                await bell.wait(max(0.0, min(LOOK, left)))

    async def _look(self, caller: Caller, patience: Patience) -> JobRecord | None:
        """Return how the job stands, or nothing while the server is away."""
        try:
            record = await self._answer(caller, self._store.get(self.id), patience)
        except PassingError as error:
            patience.bear(error)
            return None
        patience.heard()
        return record

    async def _answer(self, caller: Caller, asked: Pending[V], patience: Patience) -> V:
        try:
            return await caller.answer(asked, patience.for_an_answer)
        except TimeoutError:
            raise UnavailableError(
                f"the store has not answered in time, so it is not known how job {self.id} stands"
            ) from None

    async def _result(self, caller: Caller, timeout: float | None) -> T:
        record = await self._wait(caller, timeout)
        match record.state:
            case State.COMPLETED:
                return cast("T", self._results.decode(record.result))
            case State.CANCELLED:
                raise JobCancelledError(
                    self.id, f"job {self.id} ({record.task}) was cancelled: {record.error or ''}"
                )
            case _:
                error = JobDiscardedError(
                    self.id,
                    f"job {self.id} ({record.task}) was discarded after {record.attempt} "
                    f"attempt(s): {record.error or 'no reason was noted'}",
                )
                history = await self._last_words(caller)
                if history and history[-1].error.traceback:
                    error.add_note(history[-1].error.traceback.rstrip())
                raise error

    async def _last_words(self, caller: Caller) -> list[AttemptError]:
        """Return the attempts that failed, or none where the server has gone meanwhile."""
        try:
            return await caller.answer(self._store.history(self.id), LAST_WORDS)
        except (PassingError, TimeoutError):
            return []

    async def _cancel(
        self,
        caller: Caller,
        wait: float | None,
        reason: str,
        force: bool,  # noqa: FBT001 - private
    ) -> bool:
        patience = Patience(wait)
        asked = self._store.cancel(self.id, reason=reason, force=force)
        try:
            record = await self._answer(caller, asked, patience)
        except InvalidTransitionError:
            record = await self._answer(caller, self._store.get(self.id), patience)
        if not record.is_final and wait is not None:
            try:
                record = await self._wait(caller, wait, patience)
            except WaitTimeoutError:
                return False
        self._record = record
        return record.state is State.CANCELLED
