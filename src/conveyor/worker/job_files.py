"""Creates each job's working folder with its inputs, and uploads its artifacts to the store.

It wraps the runners: all of this happens while the job still has its lease, before its end is
reported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TypeVar

from ..core.error_info import error_info
from ..core.event_log import open_event_log
from ..core.files import FileInfo, InputFile, check_files
from ..core.job import ErrorInfo
from ..core.lifecycle import Failed, Snoozed, Succeeded, damage_error
from ..core.loop_backoff import DoublingBackoff
from ..core.task import Kind
from ..errors import CorruptStoreError, NotFoundError, UnavailableError, UsageError
from ..runners.artifacts import find_artifacts
from ..runners.job_control import JobControl, Runner, RunResult, Stopped
from ..runners.machine_fault import MachineFault, machine_fault
from ..runners.untrusted_files import file_opener
from ..runners.workdir import WorkdirRoot
from ..store.blobs.transfer import describe, fill, upload
from ..store.call_style import AsyncCalls
from ..store.messages import Lease
from ..store.protocol_files import FileStore
from ..system.confined_files import create_confined_file, open_confined_file
from ..system.file_threads import FileThreads

log = open_event_log("job_files")

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
MAX_SEARCHES = 100


class _StoppedError(Exception):
    """A stop was requested, so the files of the job are no longer needed."""


def runners_with_files(
    runners: Mapping[Kind, Runner], *, store: FileStore, workdir_root: WorkdirRoot
) -> dict[Kind, Runner]:
    """Return the given runners, wrapped so that their jobs get folders and files."""
    files = JobFiles(store, workdir_root)
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
                with suppress(RuntimeError):  # no thread: `close` of the root removes it
                    await self._files.threads.run(workdir.remove)

    async def probe(self) -> MachineFault | None:
        return await self._files.probe() or await self._runner.probe()

    async def close(self) -> None:
        await self._runner.close()


class JobFiles:
    """Downloads the inputs of jobs and uploads their artifacts. Serves one event loop."""

    def __init__(self, store: FileStore, workdir_root: WorkdirRoot) -> None:
        self.workdir_root = workdir_root
        self.threads = FileThreads()
        # Apart, because a search may take a minute and nobody else must wait for it.
        self._searches = FileThreads(MAX_SEARCHES)
        self._store = store
        self._call_style = AsyncCalls()

    async def prepare(self, control: JobControl) -> RunResult | None:
        """Make a job's folder and put its inputs there; returns how it ends if that fails."""
        try:
            folder = control.artifact_root = await self.threads.run(control.folder)
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

    async def probe(self) -> MachineFault | None:
        """Return why no job's folder could be created now; None if one could."""
        try:
            return await self.threads.run(self.workdir_root.probe)
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
            found = await self._searches.run(
                partial(
                    find_artifacts,
                    control.artifact_root,
                    options.artifacts,
                    control.artifacts,
                    options.artifact_limit,
                    owner=control.workdir_owner,
                    check=partial(_check, control),
                )
            )
        except _StoppedError:
            return Stopped() if isinstance(run_result, Succeeded) else run_result
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
        await self.threads.run(partial(create_confined_file, folder, file.name))
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
            threads=self.threads,
            before_piece=partial(_check, control),
        )

    async def _upload(self, name: str, path: str, control: JobControl) -> bool:
        is_named = name in control.artifacts
        opens = None if is_named else file_opener(control.artifact_root, control.workdir_owner)
        found = await self.threads.run(
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
            threads=self.threads,
            before_piece=partial(_check, control),
            opener=opens,
        )
        return await self._store.attach(Lease(control.job.id, control.job.lease), file)

    async def _retry(self, control: JobControl, step: Callable[[], Awaitable[T]]) -> T:
        """Repeat a step while the store cannot be reached."""
        backoff = DoublingBackoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            _check(control)
            try:
                return await step()
            except CorruptStoreError:
                raise
            except UnavailableError as error:
                if backoff.is_first:
                    _mark(control, f"files: retrying until the store is back: {error}")
                pause = backoff.next_pause()
                log.error("store.unavailable retry_in=%.1f error=%s", pause, error)  # noqa: TRY400 - no traceback helps here
                await asyncio.sleep(pause)


def _check(control: JobControl) -> None:
    if control.stopping:
        raise _StoppedError


def _mark(control: JobControl, text: str) -> None:
    control.write("mark", f"[{text}]\n".encode(errors="backslashreplace"))
