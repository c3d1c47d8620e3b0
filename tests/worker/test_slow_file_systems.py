"""File systems that do not answer, or take long: they hold no slot."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from runner_helpers import CANCEL, RecordingSink, command, run_jobs

from conveyor.core.job import COMMAND_TASK, NewJob
from conveyor.core.lifecycle import Failed, Succeeded
from conveyor.runners.artifacts import FoundArtifacts
from conveyor.runners.command import CommandRunner
from conveyor.runners.job_control import JobControl, RunResult, Stopped
from conveyor.runners.rmtree import remove_tree
from conveyor.runners.workdir import WorkdirRoot
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Claimant, Want
from conveyor.worker.job_files import Patience, runners_with_files


def claimed(store: MemoryStore) -> JobControl:
    """Return the control of a running command whose artifacts are all files of its folder."""
    made = command("true", sink=RecordingSink())
    options = msgspec.structs.replace(made.job.options, artifacts=("*",))
    store.insert(
        [NewJob(id="job", task=COMMAND_TASK, args=made.job.args, options=options)]
    ).result()
    [job] = store.claim([Want("default", 1)], Claimant("w"), limit=1).result().jobs
    return JobControl(job, made.task, made.sink)


class HungSearch:
    """A search for artifacts in a file system that does not answer until it is told to."""

    def __init__(self) -> None:
        self.answer = threading.Event()
        self.control: JobControl | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    def __call__(self, *_: object, **__: object) -> FoundArtifacts:
        if self.control is not None and self.loop is not None:
            self.loop.call_soon_threadsafe(self.control.stop, CANCEL)
        self.answer.wait(60)
        return FoundArtifacts({})


@pytest.mark.parametrize("is_stopped", [True, False], ids=["cancel", "no deadline"])
def test_a_file_system_that_does_not_answer_holds_no_slot(
    scratch: WorkdirRoot, is_stopped: bool, caplog: pytest.LogCaptureFixture
) -> None:
    store, search = MemoryStore(), HungSearch()
    control = claimed(store)
    patience = Patience(search=0.05, stop=0.05)

    async def main() -> RunResult:
        if is_stopped:
            search.control, search.loop = control, asyncio.get_running_loop()
        runners = runners_with_files(
            {"command": CommandRunner()},
            store=store,
            workdir_root=scratch,
            find=search,
            patience=Patience(60, 0.05) if is_stopped else patience,
        )
        ending = await runners["command"].run(control)
        await runners["command"].close()
        return ending

    ending = asyncio.run(main())
    assert not search.answer.is_set()
    if is_stopped:
        assert isinstance(ending, Stopped)
    else:
        assert isinstance(ending, Failed)
        assert (ending.error.type, ending.retry) == ("ArtifactSearchHung", True)
    assert "files.stuck id=job" in caplog.text
    search.answer.set()


def test_the_removal_of_a_huge_folder_holds_no_slot_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    goes_on, removed = threading.Event(), threading.Event()

    def remove(path: str) -> None:
        goes_on.wait(60)
        remove_tree(path)
        removed.set()

    root, store = WorkdirRoot(remove), MemoryStore()
    control = claimed(store)
    made = {"command": CommandRunner()}

    def runner() -> Any:
        return runners_with_files(
            made,  # type: ignore[arg-type]
            store=store,
            workdir_root=root,
            patience=Patience(removal=0.05),
        )["command"]

    [ending] = run_jobs(runner, control)
    assert isinstance(ending, Succeeded)
    assert control.workdir is not None
    assert Path(control.workdir.path).is_dir()
    goes_on.set()
    assert removed.wait(60)
    assert not Path(control.workdir.path).exists()
    root.close(timeout=60)
    assert list(tmp_path.iterdir()) == []
