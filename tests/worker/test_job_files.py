"""What stands around the runners: files on their way while the store or the job is not as usual."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from runner_helpers import CANCEL, RecordingSink, command, run_jobs

from conveyor.core.files import PIECE, InputFile
from conveyor.core.job import COMMAND_TASK, NewJob
from conveyor.core.lifecycle import Failed, Succeeded
from conveyor.core.pending import Pending, failed, ready
from conveyor.errors import UnavailableError
from conveyor.runners.artifacts import find_artifacts
from conveyor.runners.command import CommandRunner
from conveyor.runners.job_control import JobControl, RunResult, Stopped
from conveyor.runners.machine_fault import MachineFault
from conveyor.runners.workdir import WorkdirRoot
from conveyor.store.http.wire import ExchangedView, JobView, decode_exchanged, encode_job
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Claimant, Content, Want
from conveyor.worker.job_files import runners_with_files

LARGE = PIECE * 2 + 1


class Store(MemoryStore):
    """A memory store that counts the pieces it gets and gives, and may do something at each."""

    def __init__(self) -> None:
        super().__init__()
        self.moved = 0
        self.fails = 0
        self.control: JobControl | None = None

    def write_content(self, digest: str, offset: int, data: bytes, *, last: bool) -> Any:
        return self._moved() or super().write_content(digest, offset, data, last=last)

    def read_content(self, digest: str, offset: int, limit: int) -> Any:
        return self._moved() or super().read_content(digest, offset, limit)

    def _moved(self) -> Pending[Any] | None:
        self.moved += 1
        if self.control is not None:
            self.control.stop(CANCEL)
        if self.moved <= self.fails:
            return failed(UnavailableError("not now"))
        return None


def given(store: Store, size: int = LARGE) -> InputFile:
    """Put an input into the store."""
    data = bytes(size)
    digest = hashlib.sha256(data).hexdigest()
    for offset in range(0, size, PIECE):
        piece = data[offset : offset + PIECE]
        store.write_content(digest, offset, piece, last=offset + PIECE >= size).result()
    store.moved = 0
    return InputFile(name="in", digest=digest, size=size)


def claimed(store: Store, *argv: str, **options: Any) -> JobControl:
    """Return the control of a command that is running by the store too."""
    made = command(*argv, sink=RecordingSink())
    new = NewJob(
        id="job",
        task=COMMAND_TASK,
        args=made.job.args,
        options=msgspec.structs.replace(made.job.options, **options),
    )
    store.insert([new]).result()
    [job] = store.claim([Want("default", 1)], Claimant("w"), limit=1).result().jobs
    return JobControl(job, made.task, made.sink)


def run(store: Store, scratch: WorkdirRoot, control: JobControl) -> RunResult:
    made = {"command": CommandRunner()}

    def runner() -> Any:
        return runners_with_files(made, store=store, workdir_root=scratch)["command"]  # type: ignore[arg-type]

    [ending] = run_jobs(runner, control)
    return ending


def left(store: Store) -> list[tuple[str, int]]:
    return [
        (each.name, each.size) for each in store.files("job").result() if each.kind == "artifact"
    ]


COPY = ("cp", "in", "out")
FILL = ("sh", "-c", f"head -c {LARGE} /dev/zero > out")


def test_transfers_resume_when_the_store_is_back(scratch: WorkdirRoot) -> None:
    store = Store()
    control = claimed(store, *COPY, files=(given(store),), artifacts=("out",))
    store.fails = 1
    assert isinstance(run(store, scratch, control), Succeeded)
    # One more than there are pieces; the content of the artifact is there already.
    assert store.moved == 4
    assert left(store) == [("out", LARGE)]


def test_a_folder_that_cannot_be_created_is_a_fault_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    store, root = Store(), WorkdirRoot()
    ending = run(store, root, claimed(store, "true", artifacts=("out",)))
    assert isinstance(ending, MachineFault)
    assert "no job's folder can be created" in ending.reason
    root.close()


@pytest.mark.parametrize(("number", "is_fault"), [(errno.ENOSPC, True), (errno.EISDIR, False)])
def test_an_input_for_which_the_disk_has_no_room_is_a_fault_of_the_machine(
    scratch: WorkdirRoot, number: int, is_fault: bool
) -> None:
    class Unwritable(Store):
        def read_content(self, *_: object) -> Any:
            return failed(OSError(number, os.strerror(number)))

    store = Unwritable()
    ending = run(store, scratch, claimed(store, *COPY, files=(given(store),)))
    assert isinstance(ending, MachineFault if is_fault else Failed)


def test_a_pattern_that_nothing_can_match_hides_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    found = find_artifacts(str(tmp_path), ["", "k*"], {}, limit=100)
    assert found.files == {"kept": str(tmp_path / "kept")}
    assert found.marks == ("no file matches ''",)
    assert found.error is None


def test_an_upload_resumes_at_the_offset_that_the_store_has(scratch: WorkdirRoot) -> None:
    store = Store()
    digest = hashlib.sha256(bytes(LARGE)).hexdigest()
    store.write_content(digest, 0, bytes(PIECE), last=False).result()
    store.moved = 0
    control = claimed(store, *FILL, artifacts=("out",))
    assert isinstance(run(store, scratch, control), Succeeded)
    assert store.moved == 2
    assert left(store) == [("out", LARGE)]


def test_a_damaged_partial_upload_is_replaced(scratch: WorkdirRoot) -> None:
    store = Store()
    digest = hashlib.sha256(bytes(LARGE)).hexdigest()
    store.write_content(digest, 0, b"somebody was wrong", last=False).result()
    control = claimed(store, *FILL, artifacts=("out",))
    assert isinstance(run(store, scratch, control), Succeeded)
    assert left(store) == [("out", LARGE)]


def test_a_job_that_must_stop_does_not_wait_for_its_inputs(scratch: WorkdirRoot) -> None:
    store = Store()
    control = store.control = claimed(store, *COPY, files=(given(store),), artifacts=("out",))
    assert run(store, scratch, control) == Stopped()
    assert store.moved == 1


def test_a_job_that_must_stop_during_its_upload_is_not_completed(scratch: WorkdirRoot) -> None:
    store = Store()
    control = store.control = claimed(store, *FILL, artifacts=("out",))
    assert run(store, scratch, control) == Stopped()
    assert store.moved == 1
    assert left(store) == []


def test_a_job_that_must_stop_does_not_wait_for_an_unreachable_store(
    scratch: WorkdirRoot,
) -> None:
    store = Store()
    store.fails = 99
    control = store.control = claimed(store, *FILL, artifacts=("out",))
    assert run(store, scratch, control) == Stopped()
    assert store.moved == 1


def test_a_failed_job_stays_failed_even_if_its_artifacts_cannot_be_kept(
    scratch: WorkdirRoot,
) -> None:
    store = Store()
    script = f"head -c {LARGE} /dev/zero > out; exit 1"
    control = claimed(store, "sh", "-c", script, artifacts=("out",), artifact_limit=9)
    ending = run(store, scratch, control)
    assert isinstance(ending, Failed)
    assert ending.error.type == "CommandFailed"
    assert isinstance(control.sink, RecordingSink)
    assert "ArtifactTooLarge" in control.sink.text("mark")


def test_an_artifact_under_a_lost_lease_is_not_kept(scratch: WorkdirRoot) -> None:
    store = Store()
    control = claimed(store, *FILL, artifacts=("out",))
    store.rescue(dead=["w"], limit=1).result()
    assert isinstance(run(store, scratch, control), Succeeded)
    assert left(store) == []


def test_a_missing_input_discards_the_job(scratch: WorkdirRoot) -> None:
    store = Store()
    file = given(store)
    control = claimed(store, *COPY, files=(file,))
    store._blobs.contents.clear()
    ending = run(store, scratch, control)
    assert isinstance(ending, Failed)
    assert (ending.error.type, ending.retry) == ("InputMissing", False)
    assert store.content(file.digest).result() == Content(0, whole=False)


@pytest.mark.parametrize(
    "name", ["{outside}", "../../../../../{outside}", "a/../../x", "", "a\0b", "x" * 300]
)
def test_an_input_that_a_hostile_server_names_is_written_nowhere(
    scratch: WorkdirRoot, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "program"
    store = Store()
    file = msgspec.structs.replace(given(store), name=name.format(outside=outside), executable=True)
    control = claimed(store, *COPY)
    options = msgspec.structs.replace(control.job.options, files=(file,))
    control.job = msgspec.structs.replace(control.job, options=options)
    ending = run(store, scratch, control)
    assert isinstance(ending, Failed)
    assert (ending.error.type, ending.retry) == ("conveyor.errors.UsageError", False)
    assert "a file name must be" in ending.error.message
    assert store.moved == 0
    assert not outside.exists()


@pytest.mark.parametrize("patterns", [("../*",), ("/etc/*",), ("a", "**/../*")])
def test_a_pattern_that_a_hostile_server_sends_finds_nothing_elsewhere(
    scratch: WorkdirRoot, patterns: tuple[str, ...]
) -> None:
    store = Store()
    control = claimed(store, "true")
    options = msgspec.structs.replace(control.job.options, artifacts=patterns)
    control.job = msgspec.structs.replace(control.job, options=options)
    ending = run(store, scratch, control)
    assert isinstance(ending, Failed)
    assert "must be a relative path" in ending.error.message
    assert left(store) == []


class Liar(Store):
    """A store that sends other bytes than were asked for."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.answer = answer

    def read_content(self, digest: str, offset: int, limit: int) -> Any:
        self.moved += 1
        return ready(self.answer)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "sent 0 bytes instead of 2"),
        (b"x", "sent 1 bytes instead of 2"),
        (bytes(PIECE), "sent 1,048,576 bytes instead of 2"),
        (b"xy", r"came out otherwise than it was written \(SHA-256\)"),
    ],
    ids=["none", "fewer", "more", "others"],
)
def test_an_input_that_is_not_what_was_announced_fails_the_job(
    scratch: WorkdirRoot, answer: bytes, said: str
) -> None:
    store = Liar(answer)
    control = claimed(store, *COPY, files=(given(store, 2),))
    ending = run(store, scratch, control)
    assert isinstance(ending, Failed)
    assert ending.error.type == "InputNotBrought"
    assert re.search(said, ending.error.message)
    assert store.moved == 1


class StoppedSoon(JobControl):
    """A job that is asked to stop after its runner was asked so often whether it was."""

    left: int = 0

    @property
    def stopping(self) -> bool:
        self.left -= 1
        if self.left < 0:
            self.stop_request = CANCEL
        return super().stopping


@pytest.mark.parametrize("exit_code", [0, 1])
def test_a_job_that_must_stop_does_not_wait_for_the_search_of_its_artifacts(
    scratch: WorkdirRoot, exit_code: int
) -> None:
    store = Store()
    made = claimed(
        store, "sh", "-c", f"seq 1 200 | xargs mkdir; exit {exit_code}", artifacts=("**/x",)
    )
    control = StoppedSoon(made.job, made.task, made.sink)
    control.left = 50
    ending = run(store, scratch, control)
    assert isinstance(ending, Failed if exit_code else Stopped)
    assert control.left >= -3


def test_a_job_that_must_stop_does_not_wait_until_a_large_artifact_is_read(
    scratch: WorkdirRoot,
) -> None:
    store = Store()
    made = claimed(store, "truncate", "-s", "900M", "out", artifacts=("out",))
    control = StoppedSoon(made.job, made.task, made.sink)
    control.left = 50
    assert run(store, scratch, control) == Stopped()
    assert store.moved == 0


class Growing(Store):
    """A store in which an artifact grows as soon as its digest is known."""

    def __init__(self, path: Callable[[], Path]) -> None:
        super().__init__()
        self.path = path

    def content(self, digest: str) -> Any:
        with self.path().open("ab") as file:
            file.write(b"more")
        return super().content(digest)


def test_an_artifact_that_grows_meanwhile_is_kept_as_it_was(scratch: WorkdirRoot) -> None:
    def path() -> Path:
        assert control.workdir is not None
        return Path(control.workdir.path, "out")

    store = Growing(path)
    control = claimed(store, *FILL, artifacts=("out",))
    assert isinstance(run(store, scratch, control), Succeeded)
    assert left(store) == [("out", LARGE)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"options": {"timeout": -1}}, "timeout must be 0 or more seconds"),
        ({"options": {"grace": 1e300}}, "grace must be at most 100 years"),
        ({"options": {"files": [{"name": "../x", "digest": "0" * 64, "size": 1}]}}, "relative"),
        ({"options": {"artifacts": ["/etc/*"]}}, "relative path"),
        ({"options": {"requires": [""]}}, "label: a name must be"),
        ({"id": ""}, "id: a name must be"),
        ({"task": "a\0b"}, "task: a name must be"),
        ({"queue": "x" * 201}, "queue: a name must be"),
    ],
    ids=str,
)
def test_a_job_that_no_store_accepts_is_not_run_and_takes_no_other_with_it(
    scratch: WorkdirRoot, wrong: dict[str, Any], said: str
) -> None:
    store = Store()
    made = claimed(store, "true")
    good = encode_job(msgspec.structs.replace(made.job, id="good"))
    sent = msgspec.json.encode({**msgspec.json.decode(msgspec.json.encode(good)), **wrong})
    answer = ExchangedView(settled=(), jobs=(msgspec.json.decode(sent, type=JobView), good))
    hostile, other = decode_exchanged(answer).jobs
    assert said in hostile.damage
    assert not other.damage
    ending = run(store, scratch, JobControl(hostile, made.task, made.sink))
    assert isinstance(ending, Failed)
    assert (ending.error.type, ending.retry) == ("CorruptStoreError", False)
    assert said in ending.error.message
    assert isinstance(run(store, scratch, JobControl(other, made.task, made.sink)), Succeeded)
