"""The handle of an enqueued job: read its state, wait for its result, cancel it."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any, Generic, TypeVar, cast

from ..core.codec import ResultCodec
from ..core.files import FileInfo
from ..core.job import AttemptError, JobRecord, Progress, State, StopNote, Stream
from ..core.job_context import waiting_for
from ..core.lifecycle import damage_error
from ..core.pending import Pending, run_sync
from ..errors import (
    CorruptStoreError,
    InvalidTransitionError,
    JobCancelledError,
    JobDiscardedError,
    NotFoundError,
    PassingError,
    UnavailableError,
    UsageError,
    WaitTimeoutError,
)
from ..store.blobs.transfer import download
from ..store.call_style import AsyncCalls, BlockingCalls, CallStyle
from ..store.hint_waiters import HintWaiters
from ..store.page_walk import read_history
from ..store.protocol import Store
from ..system.file_threads import FileThreads
from .outage_wait import OutageWait

T = TypeVar("T")
V = TypeVar("V")

# How often a waiting caller reads the job, in seconds; hints wake it earlier.
POLL_INTERVAL = 1.0
# How long to wait for the traceback of a failed job, in seconds.
HISTORY_TIMEOUT = 5.0
OUTPUT_PAGE = 1000
MAX_OUTPUT_PAGES = 100_000


class Job(Generic[T]):
    """One enqueued job. Methods block; those with the prefix `a` are for coroutines.

    `existing` is True if another job held the unique key; this is then that job. `replaced` is True
    if that job has taken over the arguments and options of this call. Methods raise
    NotFoundError once the job was pruned, and UnavailableError if the store cannot be reached.
    """

    __slots__ = ("_hint_waiters", "_record", "_results", "_store", "existing", "id", "replaced")

    def __init__(
        self,
        job_id: str,
        *,
        store: Store,
        hint_waiters: HintWaiters,
        results: ResultCodec,
        existing: bool = False,
        replaced: bool = False,
        record: JobRecord | None = None,
    ) -> None:
        self.id = job_id
        self.existing = existing
        self.replaced = replaced
        self._store = store
        self._hint_waiters = hint_waiters
        self._results = results
        self._record = record

    def __repr__(self) -> str:
        state = f" {self._record.state}" if self._record else ""
        return f"<Job {self.id}{state}>"

    def __await__(self) -> Generator[Any, None, T]:
        return self.aresult().__await__()

    @property
    def record(self) -> JobRecord:
        """All of the job's data as of the last `refresh`; the first access refreshes."""
        if self._record is None:
            self._record = self._store.get(self.id).result()
        return self._record

    @property
    def state(self) -> State:
        """The state as of the last `refresh`; the first access refreshes."""
        return self.record.state

    @property
    def progress(self) -> Progress | None:
        """The progress that the job reported, as of the last `refresh`; None if it did not."""
        return self.record.progress

    @property
    def stopping(self) -> tuple[StopNote, ...]:
        """The steps taken to stop the job, as of the last `refresh`."""
        return self.record.stopping

    def refresh(self) -> Job[T]:
        """Read the job again and return this handle; NotFoundError once it was pruned."""
        self._record = self._store.get(self.id).result()
        return self

    async def arefresh(self) -> Job[T]:
        """`refresh` for coroutines."""
        self._record = await self._store.get(self.id)
        return self

    def wait(self, timeout: float | None = None) -> JobRecord:
        """Block until the job is final and return its record, however it ended.

        `timeout` is in seconds; WaitTimeoutError when it expires (the job goes on). A server that
        cannot be reached is retried for up to 5 minutes before UnavailableError.
        """
        return run_sync(self._wait(BlockingCalls(), timeout))

    async def await_final(self, timeout: float | None = None) -> JobRecord:
        """`wait` for coroutines."""
        return await self._wait(AsyncCalls(), timeout)

    def result(self, timeout: float | None = None) -> T:
        """Block until the job is final and return its result.

        `timeout` is in seconds. Raises JobDiscardedError (with the last error and its traceback),
        JobCancelledError or WaitTimeoutError; UnavailableError if the server cannot be reached
        when the timeout expires, or for 5 minutes.
        """
        return run_sync(self._result(BlockingCalls(), timeout))

    async def aresult(self, timeout: float | None = None) -> T:
        """`result` for coroutines; `await job` is the same without a timeout."""
        return await self._result(AsyncCalls(), timeout)

    def cancel(
        self, wait: float | None = None, *, reason: str = "cancelled", force: bool = False
    ) -> bool:
        """Cancel the job. Returns True if it is cancelled and none of its code runs any more.

        A waiting job is cancelled at once. A running one is asked to stop, and `wait` is how many
        seconds to wait until it has. Returns False if it still runs, or ended before it could be
        stopped; `state` and `stopping` show which. `force` skips the grace period: processes and
        commands get SIGKILL at once. A thread, or a coroutine that catches CancelledError, cannot
        be forced: it gets another request, and runs until it ends or its worker does.
        """
        return run_sync(self._cancel(BlockingCalls(), wait, reason, force))

    async def acancel(
        self, wait: float | None = None, *, reason: str = "cancelled", force: bool = False
    ) -> bool:
        """`cancel` for coroutines."""
        return await self._cancel(AsyncCalls(), wait, reason, force)

    def history(self) -> list[AttemptError]:
        """Return all attempts that did not succeed, oldest first."""
        return run_sync(read_history(BlockingCalls(), self._store, self.id))

    def logs(self, stream: Stream | None = None) -> str:
        """Return the job's output so far, in order: stdout, stderr and logging, or one `stream`."""
        text = bytearray()
        after = 0
        while len(text) < MAX_OUTPUT_PAGES * OUTPUT_PAGE:
            page = self._store.output(self.id, after=after, limit=OUTPUT_PAGE).result()
            for chunk in page:
                if stream is None or chunk.stream == stream:
                    text += chunk.data
            if not page.more:
                break
            after = page[-1].seq
        return text.decode(errors="replace")

    def artifacts(self) -> list[FileInfo]:
        """Return the job's artifacts so far, sorted by name."""
        return run_sync(self._artifacts(BlockingCalls()))

    async def aartifacts(self) -> list[FileInfo]:
        """`artifacts` for coroutines."""
        return await self._artifacts(AsyncCalls())

    def download(self, name: str, path: str | os.PathLike[str]) -> FileInfo:
        """Download an artifact to the file `path`, which appears only once it is complete.

        NotFoundError if the job has no artifact `name`, UsageError if the file cannot be written.
        An interrupted download resumes where it stopped.
        """
        return run_sync(self._download(BlockingCalls(), name, os.fspath(path)))

    async def adownload(self, name: str, path: str | os.PathLike[str]) -> FileInfo:
        """`download` for coroutines."""
        return await self._download(AsyncCalls(), name, os.fspath(path))

    async def _artifacts(self, call_style: CallStyle) -> list[FileInfo]:
        files = await call_style.wait_for(self._store.files(self.id))
        return [each for each in files if each.kind == "artifact"]

    async def _download(self, call_style: CallStyle, name: str, path: str) -> FileInfo:
        artifacts = await self._artifacts(call_style)
        file = next((each for each in artifacts if each.name == name), None)
        if file is None:
            known = ", ".join(each.name for each in artifacts) or "none"
            raise NotFoundError(f"job {self.id} has no artifact {name!r}; it has: {known}")
        try:
            await download(
                file, path, store=self._store, call_style=call_style, threads=FileThreads()
            )
        except OSError as error:
            raise UsageError(f"{path!r} cannot be written: {error}") from error
        return file

    async def _wait(
        self, call_style: CallStyle, timeout: float | None, outage: OutageWait | None = None
    ) -> JobRecord:
        outage = outage or OutageWait(timeout)
        record = await self._read(call_style, outage)
        if record is None or not record.is_final:
            record = await self._poll_until_final(call_style, timeout, outage)
        self._record = record
        return record

    async def _poll_until_final(
        self, call_style: CallStyle, timeout: float | None, outage: OutageWait
    ) -> JobRecord:
        wake_event = call_style.wake_event()
        with (
            self._hint_waiters.wake_on("final", self.id, wake_event),
            waiting_for(f"job {self.id}", wake_event),
        ):
            while True:
                record = await self._read(call_style, outage)
                if record is not None and record.is_final:
                    return record
                left = outage.left
                if record is not None and left <= 0:
                    self._record = record
                    raise WaitTimeoutError(
                        f"job {self.id} is still {record.state} after {timeout} s and continues; "
                        f"`conveyor why {self.id}` explains what it waits for"
                    )
                await wake_event.wait(max(0.0, min(POLL_INTERVAL, left)))

    async def _read(self, call_style: CallStyle, outage: OutageWait) -> JobRecord | None:
        """Return the job, or None during an outage of the server."""
        try:
            record = await self._answer(call_style, self._store.get(self.id), outage)
        except PassingError as error:
            outage.tolerate(error)
            return None
        outage.server_answered()
        return record

    async def _answer(self, call_style: CallStyle, pending: Pending[V], outage: OutageWait) -> V:
        try:
            return await call_style.wait_for(pending, outage.answer_timeout)
        except TimeoutError:
            raise UnavailableError(
                f"the store has not answered in time; the state of job {self.id} is unknown"
            ) from None

    async def _result(self, call_style: CallStyle, timeout: float | None) -> T:
        record = await self._wait(call_style, timeout)
        match record.state:
            case State.COMPLETED if record.damage and record.result is None:
                raise CorruptStoreError(damage_error(record).message)
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
                    f"{'attempt' if record.attempt == 1 else 'attempts'}: "
                    f"{record.error or 'no error recorded'}",
                )
                history = await self._read_history(call_style)
                if history and history[-1].error.traceback:
                    error.add_note(history[-1].error.traceback.rstrip())
                raise error

    async def _read_history(self, call_style: CallStyle) -> list[AttemptError]:
        """Return the failed attempts, or none if the server cannot be reached any more."""
        try:
            return await read_history(call_style, self._store, self.id, HISTORY_TIMEOUT)
        except (PassingError, TimeoutError):
            return []

    async def _cancel(
        self,
        call_style: CallStyle,
        wait: float | None,
        reason: str,
        force: bool,  # noqa: FBT001 - private
    ) -> bool:
        outage = OutageWait(wait)
        asked = self._store.cancel(self.id, reason=reason, force=force)
        try:
            record = await self._answer(call_style, asked, outage)
        except InvalidTransitionError:
            record = await self._answer(call_style, self._store.get(self.id), outage)
        if not record.is_final and wait is not None:
            try:
                record = await self._wait(call_style, wait, outage)
            except WaitTimeoutError:
                return False
        self._record = record
        return record.state is State.CANCELLED
