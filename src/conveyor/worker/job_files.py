"""Gives each job the folder it works in, with its inputs, and takes its artifacts to the store.

It stands around the runners: what is done here is done while the job still has its lease, before
anybody hears how it ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from ..core.backoff import DoublingBackoff
from ..core.error_info import error_info
from ..core.files import FileInfo, InputFile
from ..core.job import ErrorInfo
from ..core.lifecycle import Failed, Snoozed, Succeeded
from ..core.task import Kind
from ..errors import CorruptStoreError, NotFoundError, UnavailableError, UsageError
from ..runners.artifacts import find_artifacts
from ..runners.job_control import Ending, JobControl, Runner, Stopped
from ..runners.untrusted_files import owned_file_opener
from ..runners.workdir import Workdir, WorkdirRoot
from ..store.ask import Awaiting
from ..store.blobs.transfer import describe, download, upload
from ..store.messages import Lease
from ..store.protocol_files import FileStore
from ..system.file_threads import FileThreads

log = logging.getLogger("conveyor.job_files")

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0


class _NotWantedError(Exception):
    """The job was asked to stop; its files are not worth the way any more."""


class Equipped(Mapping[Kind, Runner]):
    """The given runners, each in its workshop."""

    def __init__(
        self, runners: Mapping[Kind, Runner], *, store: FileStore, scratch: WorkdirRoot
    ) -> None:
        shop = Workshop(store, scratch)
        self._by_kind: dict[Kind, Runner] = {
            kind: _Equipped(runner, shop) for kind, runner in runners.items()
        }

    def __getitem__(self, kind: Kind) -> Runner:
        return self._by_kind[kind]

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._by_kind)

    def __len__(self) -> int:
        return len(self._by_kind)


class _Equipped:
    """A runner whose jobs have folders and files."""

    def __init__(self, runner: Runner, shop: Workshop) -> None:
        self._runner = runner
        self._shop = shop

    async def run(self, control: JobControl) -> Ending:
        control.workdir = place = self._shop.scratch.new_workdir()
        options = control.job.options
        working = False
        try:
            if options.files or options.artifacts:
                trouble = await self._shop.lay_out(control, place)
                if trouble is not None:
                    return trouble
            working = True
            ending = await self._runner.run(control)
            working = False
            if options.artifacts or control.artifacts:
                ending = await self._shop.collect(control, ending)
            return ending
        finally:
            # A thread that was given up still works there, until its process ends.
            if place.created and not (working and control.task.kind == "thread"):
                await self._shop.errands.run(place.remove)

    async def close(self) -> None:
        await self._runner.close()


class Workshop:
    """Brings files and takes files away. Serves one event loop."""

    def __init__(self, store: FileStore, scratch: WorkdirRoot) -> None:
        self.scratch = scratch
        self.errands = FileThreads()
        self._store = store
        self._caller = Awaiting()

    async def lay_out(self, control: JobControl, place: Workdir) -> Ending | None:
        """Make a job's folder and put its inputs there; returns how it ends if that fails."""
        try:
            folder = control.artifact_root = await self.errands.run(place.create)
            for file in control.job.options.files:
                path = str(Path(folder, file.name))
                await self.errands.run(partial(_make_folder_of, path))
                await self._insist(control, partial(self._bring, file, path, control))
        except _NotWantedError:
            return Stopped()
        except NotFoundError as error:
            return Failed(ErrorInfo("InputMissing", str(error)), retry=False)
        except UsageError as error:
            return Failed(error_info(error), retry=False)
        except (CorruptStoreError, OSError) as error:
            return Failed(ErrorInfo("InputNotBrought", f"{type(error).__name__}: {error}"))
        return None

    async def collect(self, control: JobControl, ending: Ending) -> Ending:
        """Take a job's artifacts to the store; returns how it ends after that."""
        if control.stopping and isinstance(ending, Succeeded):
            return Stopped()  # without its artifacts it is not done
        if control.stopping or not isinstance(ending, Succeeded | Failed | Snoozed):
            return ending
        options = control.job.options
        found = await self.errands.run(
            partial(
                find_artifacts,
                control.artifact_root,
                options.artifacts,
                control.artifacts,
                options.artifact_limit,
                owner=control.workdir_owner,
            )
        )
        for text in found.marks:
            _mark(control, f"artifacts: {text}")
        if found.error is not None:
            if isinstance(ending, Failed):  # that is what is to be known of it
                _mark(control, str(found.error))
                return ending
            return Failed(found.error, retry=False)
        try:
            for name, path in found.files.items():
                if not await self._insist(control, partial(self._take, name, path, control)):
                    break  # the lease is lost, and the ending will be refused as well
        except _NotWantedError:
            return Stopped() if isinstance(ending, Succeeded) else ending
        except (UsageError, CorruptStoreError) as error:
            _mark(control, f"artifacts: {error}")
            return ending if isinstance(ending, Failed) else Failed(error_info(error))
        return ending

    async def _bring(self, file: InputFile, path: str, control: JobControl) -> None:
        await download(
            file,
            path,
            store=self._store,
            caller=self._caller,
            errands=self.errands,
            going=partial(_check, control),
        )

    async def _take(self, name: str, path: str, control: JobControl) -> bool:
        opens = (
            None
            if control.workdir_owner is None
            else owned_file_opener(control.artifact_root, control.workdir_owner)
        )
        found = await self.errands.run(partial(describe, name, path, opens))
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
            caller=self._caller,
            errands=self.errands,
            going=partial(_check, control),
            opener=opens,
        )
        return await self._store.attach(Lease(control.job.id, control.job.lease), file)

    async def _insist(self, control: JobControl, step: Callable[[], Awaitable[T]]) -> T:
        """Do a step as often as it takes while the store cannot be reached."""
        backoff = DoublingBackoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            _check(control)
            try:
                return await step()
            except CorruptStoreError:
                raise
            except UnavailableError as error:
                if backoff.is_first:
                    _mark(control, f"files: tried again until the store is back: {error}")
                pause = backoff.next_pause()
                log.error("store.unavailable retry_in=%.1f error=%s", pause, error)  # noqa: TRY400 - no traceback helps here
                await asyncio.sleep(pause)


def _check(control: JobControl) -> None:
    if control.stopping:
        raise _NotWantedError


def _mark(control: JobControl, text: str) -> None:
    control.write("mark", f"[{text}]\n".encode(errors="backslashreplace"))


def _make_folder_of(path: str) -> None:
    Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
