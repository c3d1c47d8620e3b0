"""Creates each job's working folder with its inputs, and uploads its artifacts to the store.

It wraps the runners: all of this happens while the job still has its lease, before its end is
reported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeVar

import msgspec

from ..core.error_info import error_info
from ..core.event_log import open_event_log
from ..core.files import FileInfo, InputFile, check_files
from ..core.job import ErrorInfo
from ..core.lifecycle import Failed, Snoozed, Succeeded, damage_error
from ..core.loop_backoff import DoublingBackoff
from ..core.task import Kind
from ..errors import CorruptStoreError, NotFoundError, UnavailableError, UsageError
from ..runners.artifact_search import MAX_TIME
from ..runners.artifacts import FoundArtifacts, find_artifacts
from ..runners.job_control import JobControl, Runner, RunResult, Stopped
from ..runners.machine_fault import MachineFault, machine_fault
from ..runners.untrusted_files import file_opener
from ..runners.workdir import Workdir, WorkdirRoot
from ..store.blobs.transfer import describe, fill, upload
from ..store.call_style import AsyncCalls
from ..store.messages import Lease
from ..store.protocol_files import FileStore
from ..system.confined_files import create_confined_file, open_confined_file
from ..system.file_threads import FileThreads

log = open_event_log("job_files")

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
MAX_SEARCHES, MAX_REMOVALS = 100, 4
Find = Callable[..., FoundArtifacts]


class Patience(msgspec.Struct, frozen=True):
    """How long work on files may take, in seconds: a file system may never answer.

    `search` is for a search for artifacts, which ends earlier by itself if it can. `stop` is for
    any work once the job must stop. `removal` is how long the removal of a job's folder holds its
    slot; it goes on without it.
    """

    search: float = MAX_TIME + 15.0
    stop: float = 5.0
    removal: float = 2.0


PATIENCE = Patience()


class _StoppedError(Exception):
    """A stop was requested, so the files of the job are no longer needed."""


def runners_with_files(
    runners: Mapping[Kind, Runner],
    *,
    store: FileStore,
    workdir_root: WorkdirRoot,
    find: Find = find_artifacts,
    patience: Patience = PATIENCE,
) -> dict[Kind, Runner]:
    """Return the given runners, wrapped so that their jobs get folders and files."""
    files = JobFiles(store, workdir_root, find, patience)
    return {kind: _RunnerWithFiles(runner, files) for kind, runner in runners.items()}


class _RunnerWithFiles:
    """A runner whose jobs have folders and files. It runs no damaged job."""

    def __init__(self, runner: Runner, files: JobFiles) -> None:
        self._runner = runner
        self._files = files

    async def run(self, control: JobControl) -> RunResult:
        if control.job.damage:  # a store discards such a job, but the server may be another's
            return Failed(damage_error(control.job), retry=False)
        control.workdir_root = self._files.workdir_root
        options = control.job.options
        working = False
        try:
            if options.files or options.artifacts:
                failed = await self._files.prepare(control)
                if failed is not None:
                    return failed
            working = True
            run_result = await self._runner.run(control)
            working = False
            if options.artifacts or control.artifacts:
                run_result = await self._files.collect(control, run_result)
            return run_result
        finally:
            # An abandoned thread still works there, until its process ends.
            workdir, abandoned = control.workdir, working and control.task.kind == "thread"
            if workdir is not None and workdir.created and not abandoned:
                await self._files.remove(workdir, control)

    async def probe(self) -> MachineFault | None:
        return await self._files.probe() or await self._runner.probe()

    async def close(self) -> None:
        await self._runner.close()


class JobFiles:
    """Downloads the inputs of jobs and uploads their artifacts. Serves one event loop."""

    def __init__(
        self, store: FileStore, workdir_root: WorkdirRoot, find: Find, patience: Patience
    ) -> None:
        self.workdir_root = workdir_root
        self._find, self._patience = find, patience
        self._threads = FileThreads()
        # Apart, because a search or a removal may take minutes and nobody else must wait for it.
        self._searches = FileThreads(MAX_SEARCHES)
        self._removals = FileThreads(MAX_REMOVALS)
        self._store = store
        self._call_style = AsyncCalls()

    async def prepare(self, control: JobControl) -> RunResult | None:
        """Make a job's folder and put its inputs there; returns how it ends if that fails."""
        try:
            folder = control.artifact_root = await self._unless_stopped(
                control, self._threads.run(control.folder)
            )
        except _StoppedError:
            return Stopped()
        except (OSError, RuntimeError) as error:
            return MachineFault(f"no job's folder can be created: {error}")
        try:
            check_files(control.job.options.files, control.job.options.artifacts)
            for file in control.job.options.files:
                await self._put_input(file, folder, control)
        except _StoppedError:
            return Stopped()
        except NotFoundError as error:
            return Failed(ErrorInfo("InputMissing", str(error)), retry=False)
        except UsageError as error:
            return Failed(error_info(error), retry=False)
        except (CorruptStoreError, OSError, RuntimeError) as error:
            fault = machine_fault(error)
            if fault is not None:
                return fault
            return Failed(ErrorInfo("InputNotBrought", f"{type(error).__name__}: {error}"))
        return None

    async def remove(self, workdir: Workdir, control: JobControl) -> None:
        """Remove a job's folder, beside other jobs if that takes long."""
        removal = asyncio.ensure_future(_answer_of(self._removals.run(workdir.remove)))
        await asyncio.wait([removal], timeout=self._patience.removal)
        if removal.done():
            _ = removal.exception()  # no thread: `close` of the root removes it
        else:
            removal.cancel()  # the thread goes on
            log.info("workdir.removing id=%s path=%s", control.job.id, workdir.path)

    async def probe(self) -> MachineFault | None:
        """Return why no job's folder could be created now; None if one could."""
        try:
            return await self._threads.run(self.workdir_root.probe)
        except RuntimeError as error:
            return machine_fault(error)

    async def collect(self, control: JobControl, run_result: RunResult) -> RunResult:
        """Upload a job's artifacts; returns how the job ends after that."""
        if control.stopping and isinstance(run_result, Succeeded):
            return Stopped()  # without its artifacts it has not succeeded
        if control.stopping or not isinstance(run_result, Succeeded | Failed | Snoozed):
            return run_result
        options = control.job.options
        try:
            search = self._searches.run(
                partial(
                    self._find,
                    control.artifact_root,
                    options.artifacts,
                    control.artifacts,
                    options.artifact_limit,
                    owner=control.workdir_owner,
                    check=partial(_check, control),
                )
            )
            found = await self._unless_stopped(control, search, self._patience.search)
        except _StoppedError:
            return Stopped() if isinstance(run_result, Succeeded) else run_result
        except TimeoutError:
            return Failed(
                ErrorInfo(
                    "ArtifactSearchHung",
                    f"the search for artifacts has not ended after {self._patience.search:g} s: a "
                    "file system does not answer",
                )
            )
        for text in found.marks:
            _mark(control, f"artifacts: {text}")
        if found.error is not None:
            if isinstance(run_result, Failed):  # the first failure is the one to report
                _mark(control, str(found.error))
                return run_result
            return Failed(found.error, retry=False)
        try:
            for name, path in found.files.items():
                if not await self._retry(control, partial(self._upload, name, path, control)):
                    break  # the lease is lost, and the report will be refused as well
        except _StoppedError:
            return Stopped() if isinstance(run_result, Succeeded) else run_result
        except (UsageError, CorruptStoreError) as error:
            _mark(control, f"artifacts: {error}")
            return run_result if isinstance(run_result, Failed) else Failed(error_info(error))
        return run_result

    async def _put_input(self, file: InputFile, folder: str, control: JobControl) -> None:
        creation = self._threads.run(partial(create_confined_file, folder, file.name))
        await self._unless_stopped(control, creation)
        opens = partial(open_confined_file, folder, file.name)
        await self._retry(control, partial(self._download, file, opens, control))

    async def _download(
        self, file: InputFile, opens: Callable[[], int], control: JobControl
    ) -> None:
        await fill(
            file,
            opens,
            store=self._store,
            call_style=self._call_style,
            threads=self._threads,
            before_piece=partial(_check, control),
        )

    async def _upload(self, name: str, path: str, control: JobControl) -> bool:
        is_named = name in control.artifacts
        opens = None if is_named else file_opener(control.artifact_root, control.workdir_owner)
        found = await self._threads.run(
            partial(describe, name, path, opens, partial(_check, control))
        )
        file = FileInfo(
            name=name,
            digest=found.digest,
            size=found.size,
            kind="artifact",
            executable=found.executable,
        )
        await upload(
            file,
            path,
            store=self._store,
            call_style=self._call_style,
            threads=self._threads,
            before_piece=partial(_check, control),
            opener=opens,
        )
        return await self._store.attach(Lease(control.job.id, control.job.lease), file)

    async def _unless_stopped(
        self, control: JobControl, work: Awaitable[T], timeout: float | None = None
    ) -> T:
        """Return the answer of work on files; _StoppedError if the job must stop before it ends.

        A thread that a file system does not answer is left behind. TimeoutError after `timeout` s.
        """
        working = asyncio.ensure_future(_answer_of(work))
        stopped = asyncio.Event()
        control.waits[stopped] = "its files"
        stopping = asyncio.ensure_future(stopped.wait())
        try:
            if not control.stopping:
                await asyncio.wait(
                    [working, stopping], timeout=timeout, return_when=asyncio.FIRST_COMPLETED
                )
            if not working.done() and (control.stopping or stopped.is_set()):
                await asyncio.wait([working], timeout=self._patience.stop)
            if working.done():
                return working.result()
        finally:
            del control.waits[stopped]
            stopping.cancel()
            working.cancel()
        log.warning("files.stuck id=%s: a file system does not answer", control.job.id)
        if control.stopping:
            raise _StoppedError
        raise TimeoutError

    async def _retry(self, control: JobControl, step: Callable[[], Awaitable[T]]) -> T:
        """Repeat a step while the store cannot be reached."""
        backoff = DoublingBackoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            _check(control)
            try:
                return await self._unless_stopped(control, step())
            except CorruptStoreError:
                raise
            except UnavailableError as error:
                if backoff.is_first:
                    _mark(control, f"files: retrying until the store is back: {error}")
                pause = backoff.next_pause()
                log.error("store.unavailable retry_in=%.1f error=%s", pause, error)  # noqa: TRY400 - no traceback helps here
                await asyncio.sleep(pause)


async def _answer_of(work: Awaitable[T]) -> T:
    return await work


def _check(control: JobControl) -> None:
    if control.stopping:
        raise _StoppedError


def _mark(control: JobControl, text: str) -> None:
    control.write("mark", f"[{text}]\n".encode(errors="backslashreplace"))
