"""Files of jobs from end to end: inputs into a folder, artifacts out of it, nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import file_jobs
from conveyor import Conveyor, NotFoundError, State, UsageError
from conveyor.client.job_handle import Job
from conveyor.client.task_function import TaskFunction
from conveyor.errors import CorruptStoreError
from conveyor.runners.workdir import WorkdirRoot

KINDS = ("coroutine", "thread", "process")
PREFIX = f"conveyor-{os.getuid()}-"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of our own."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(params=["memory", "sqlite"])
def belt(request: pytest.FixtureRequest, tmp_path: Path, temporary: Path) -> Iterator[Conveyor]:
    url = "memory:" if request.param == "memory" else tmp_path / "jobs.db"
    opened = Conveyor(url)
    yield opened
    opened.close()
    assert list(temporary.iterdir()) == []


def make(folder: Path, name: str, text: str = "hello") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def ran(belt: Conveyor, job: Job[object]) -> Job[object]:
    belt.work(timeout=30)
    return job.refresh()


def got(job: Job[object], name: str, folder: Path) -> str:
    target = folder / "got"
    job.download(name, target)
    return target.read_text()


def task(belt: Conveyor, kind: str) -> TaskFunction[..., object, object]:
    function = file_jobs.acopy if kind == "coroutine" else file_jobs.copy
    return belt.task(run=kind)(function)  # type: ignore[call-overload,no-any-return]


# -- the four kinds --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_function_reads_its_inputs_and_leaves_artifacts(
    belt: Conveyor, kind: str, tmp_path: Path, temporary: Path
) -> None:
    source = make(tmp_path, "source")
    copying = task(belt, kind).using(files={"in/a.txt": source}, artifacts=["out/*.txt"])
    job = ran(belt, copying.enqueue("in/a.txt", "out/b.txt"))
    assert job.state is State.COMPLETED, job.record.error
    folder = Path(str(job.result()))
    assert str(folder).startswith(str(temporary / PREFIX))
    assert not folder.exists()
    assert [(file.name, file.size, file.lease) for file in job.artifacts()] == [
        ("named.txt", 5, 1),
        ("out/b.txt", 5, 1),
    ]
    assert got(job, "out/b.txt", tmp_path) == got(job, "named.txt", tmp_path) == "hello"


@pytest.mark.parametrize("kind", KINDS)
def test_a_function_without_files_gets_a_directory_on_first_use(
    belt: Conveyor, kind: str, tmp_path: Path
) -> None:
    function = file_jobs.awrite if kind == "coroutine" else file_jobs.write
    job = ran(belt, belt.task(run=kind)(function).enqueue())  # type: ignore[call-overload]
    assert job.state is State.COMPLETED, job.record.error
    assert [file.name for file in job.artifacts()] == ["made.txt"]
    assert got(job, "made.txt", tmp_path) == "made"


def test_a_command_runs_in_its_directory(belt: Conveyor, tmp_path: Path, temporary: Path) -> None:
    script = make(tmp_path, "script", "#!/bin/sh\nmkdir out; cat in.txt > out/x; pwd > out/pwd\n")
    script.chmod(0o700)
    files = {"run.sh": script, "in.txt": make(tmp_path, "source")}
    job = ran(belt, belt.command("./run.sh", files=files, artifacts=["out/*"]).enqueue())
    assert job.state is State.COMPLETED, job.record.error
    assert got(job, "out/x", tmp_path) == "hello"
    assert got(job, "out/pwd", tmp_path).startswith(str(temporary / PREFIX))
    kept = [(file.name, file.executable) for file in belt.store.files(job.id).result()]
    assert kept[:2] == [("in.txt", False), ("run.sh", True)]


def test_a_relative_cwd_is_below_the_job_s_directory_and_an_absolute_one_is_used_as_given(
    belt: Conveyor, tmp_path: Path
) -> None:
    source = make(tmp_path, "source")
    command = belt.command("cp", "a", "b", cwd="sub", files={"sub/a": source}, artifacts=["b"])
    assert [file.name for file in ran(belt, command.enqueue()).artifacts()] == ["b"]
    outside = tmp_path / "outside"
    outside.mkdir()
    script = 'cp "$CONVEYOR_FOLDER/a" c'
    command = belt.command("sh", "-c", script, cwd=outside, files={"a": source}, artifacts=["c"])
    assert [file.name for file in ran(belt, command.enqueue()).artifacts()] == ["c"]
    assert (outside / "c").read_text() == "hello"


def test_a_relative_cwd_cannot_leave_the_job_s_directory(belt: Conveyor) -> None:
    job = ran(belt, belt.command("pwd", cwd="../..", artifacts=["*"]).enqueue())
    assert "is outside the job's folder" in str(job.record.error)


def test_a_command_without_files_runs_in_the_worker_s_directory(
    belt: Conveyor, temporary: Path
) -> None:
    job = ran(belt, belt.command("pwd").enqueue())
    assert job.logs().strip() == os.getcwd()
    assert list(temporary.iterdir()) == []


# -- how it ends -----------------------------------------------------------------------------------


def test_artifacts_of_a_failed_command_are_kept(belt: Conveyor, tmp_path: Path) -> None:
    command = belt.command("sh", "-c", "echo why > log; exit 3", artifacts=["log"])
    job = ran(belt, command.enqueue())
    assert (job.state, "exited with 3" in str(job.record.error)) == (State.DISCARDED, True)
    assert got(job, "log", tmp_path) == "why\n"


def test_a_pattern_that_matches_no_file_is_noted_in_the_output(belt: Conveyor) -> None:
    job = ran(belt, belt.command("true", artifacts=["*.whl"]).enqueue())
    assert job.state is State.COMPLETED
    assert job.logs("mark") == "[artifacts: no file matches '*.whl']\n"


def test_a_pattern_with_many_stars_over_deep_directories_ends_its_job(belt: Conveyor) -> None:
    deep = "/".join(["d"] * 40)
    script = f"mkdir -p {deep}; echo x > {deep}/x"
    job = ran(belt, belt.command("sh", "-c", script, artifacts=["**/" * 30 + "x"]).enqueue())
    assert job.state is State.COMPLETED
    assert [file.name for file in job.artifacts()] == [f"{deep}/x"]


def test_too_large_artifacts_fail_the_job(belt: Conveyor) -> None:
    command = belt.command("sh", "-c", "echo 1234 > a; echo 5678 > b", artifacts=["a", "b"])
    job = ran(belt, command.using(artifact_limit=9, retries=5).enqueue())
    assert (job.state, job.record.attempt) == (State.DISCARDED, 1)
    assert str(job.record.error).startswith("ArtifactTooLarge: artifacts of 10 bytes")
    assert job.artifacts() == []
    assert ran(belt, command.using(artifact_limit=10).enqueue()).state is State.COMPLETED


def test_no_link_is_followed_out_of_the_job_s_directory(belt: Conveyor, tmp_path: Path) -> None:
    make(tmp_path, "secret")
    script = f"echo in > a; ln -s a b; ln -s {tmp_path}/secret c; ln -s {tmp_path} d"
    command = belt.command("sh", "-c", script, artifacts=["*", "d/*"])
    job = ran(belt, command.enqueue())
    assert [file.name for file in job.artifacts()] == ["a", "b"]
    assert "'c' is not kept: it is outside the job's folder" in job.logs("mark")
    # It is not even listed.
    assert "'d' is not kept: it is outside the job's folder" in job.logs("mark")
    assert "secret" not in job.logs("mark")


def test_what_is_no_file_among_artifacts_fails_no_job(belt: Conveyor) -> None:
    script = (
        "echo in > a; ln -s loop loop; ln -s two one; ln -s one two; ln -s nowhere gone; "
        "mkfifo pipe; mkdir sub; : > \"$(printf 'odd\\351')\"; ln -s . here"
    )
    command = belt.command("sh", "-c", script, artifacts=["*", "**/*", "here/loop", "x" * 150])
    job = ran(belt, command.enqueue())
    assert job.state is State.COMPLETED
    assert [file.name for file in job.artifacts()] == ["a"]
    marks = job.logs("mark")
    for name in ("loop", "one", "two", "gone"):
        assert f"{name!r} is not kept: the link leads to no file" in marks


def test_a_retry_replaces_the_artifacts_of_the_first_attempt(
    belt: Conveyor, tmp_path: Path
) -> None:
    script = 'echo $CONVEYOR_ATTEMPT > n; [ "$CONVEYOR_ATTEMPT" = 2 ]'
    command = belt.command("sh", "-c", script, artifacts=["n"])
    belt.start()  # `work` would not wait for what is not available yet
    job = command.using(retries=1, backoff=0).enqueue()
    assert job.wait(30).state is State.COMPLETED
    belt.stop()
    assert [(file.name, file.lease) for file in job.artifacts()] == [("n", 2)]
    assert got(job, "n", tmp_path) == "2\n"


def test_a_directory_is_removed_even_if_its_job_removed_all_permissions(belt: Conveyor) -> None:
    script = "mkdir -p a/b; echo x > a/b/c; chmod 0 a/b a"
    assert ran(belt, belt.command("sh", "-c", script, artifacts=["*"]).enqueue()).state == (
        State.COMPLETED
    )


def test_a_content_that_is_stored_is_not_sent_again(belt: Conveyor, tmp_path: Path) -> None:
    source = make(tmp_path, "source", "x" * 3_000_000)
    sizes = belt.command("wc", "-c", "a", "b", files={"a": source, "b": source})
    assert ran(belt, sizes.enqueue()).logs().count("3000000") == 2
    again = make(tmp_path, "again", "x" * 3_000_000)
    job = belt.command("cmp", "a", "b", files={"a": source, "b": again}).enqueue()
    assert len({file.digest for file in belt.store.files(job.id).result()}) == 1
    assert ran(belt, job).state is State.COMPLETED


def test_coroutines_enqueue_and_download(belt: Conveyor, tmp_path: Path) -> None:
    source = make(tmp_path, "source", "y" * 2_500_000)

    async def work() -> None:
        command = belt.command("cp", "a", "b", files={"a": source}, artifacts=["b"])
        async with belt.worker():
            job = await command.aenqueue()
            await job
            [file] = await job.aartifacts()
            assert await job.adownload("b", tmp_path / "b") == file

    asyncio.run(work())
    assert (tmp_path / "b").read_text() == source.read_text()


# -- wrong use -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"files": {"/etc/x": "x"}}, "relative path"),
        ({"files": {"../x": "x"}}, "relative path"),
        ({"files": {"": "x"}}, "1 to 200"),
        ({"files": {"a" * 201: "x"}}, "1 to 200"),
        ({"files": {"a": "x", "a/b": "y"}}, "directory of 'a/b'"),
        ({"files": {str(n): "x" for n in range(1001)}}, "1,000"),
        ({"artifacts": "*.whl"}, r"\['\*\.whl'\]"),
        ({"artifacts": ["../*"]}, "relative path"),
        ({"artifacts": ["/etc/*"]}, "relative path"),
        ({"artifacts": ["a**"]}, "between slashes"),
        ({"artifact_limit": -1}, "must be an integer from 0"),
    ],
)
def test_wrong_files_are_refused_at_once(
    belt: Conveyor, options: dict[str, object], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        belt.command("true").using(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["nothing", "."])
def test_a_path_that_is_not_a_file_is_refused_at_enqueue(
    belt: Conveyor, name: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"cannot be read|no regular file"):
        belt.command("true", files={"a": tmp_path / name}).enqueue()
    assert belt.jobs() == []


def test_a_scheduled_job_has_no_files(belt: Conveyor, tmp_path: Path) -> None:
    source = make(tmp_path, "source")
    with pytest.raises(UsageError, match="scheduled"):
        belt.schedule("@daily")(task(belt, "thread").using(files={"a": source}))


def test_a_missing_artifact_is_not_found(belt: Conveyor, tmp_path: Path) -> None:
    job = belt.command("true").enqueue()
    with pytest.raises(NotFoundError, match="it has: none"):
        job.download("a", tmp_path / "a")


def test_keeping_a_missing_file_raises_in_the_job(belt: Conveyor) -> None:
    job = ran(belt, belt.task(file_jobs.keep_nothing).enqueue())
    assert "does not exist or is not a file" in str(job.record.error)


def test_a_folder_of_another_user_in_the_directory_for_temporary_files_is_in_nobody_s_way(
    belt: Conveyor, temporary: Path
) -> None:
    theirs = temporary / PREFIX.removesuffix("-")
    theirs.mkdir()
    theirs.chmod(0o777)
    job = ran(belt, belt.command("touch", "a", artifacts=["a"]).enqueue())
    assert job.state is State.COMPLETED, job.record.error
    assert [file.name for file in job.artifacts()] == ["a"]
    theirs.rmdir()


@pytest.mark.parametrize("belt", ["memory"], indirect=True)
@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_that_this_machine_cannot_create_is_no_attempt_of_the_job_that_asked_for_it(
    belt: Conveyor, kind: str, temporary: Path
) -> None:
    function = file_jobs.awrite if kind == "coroutine" else file_jobs.write
    job = belt.task(run=kind, retries=0)(function).enqueue()  # type: ignore[call-overload]

    async def sickness() -> str:
        async with belt.worker(), asyncio.timeout(60):
            while not (sick := [each.sick for each in await belt.store.workers() if each.sick]):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            broken.unlink()
            os.rename(kept, broken)
            await job
        return str(sick[0][kind])

    broken, kept = temporary, temporary.with_name("kept")
    os.rename(broken, kept)
    broken.touch()
    assert "Not a directory" in asyncio.run(sickness())
    assert (job.refresh().state, job.record.attempt) == (State.COMPLETED, 1)


# -- cut short -------------------------------------------------------------------------------------


def test_a_download_resumes_and_restarts_if_the_partial_file_is_damaged(
    belt: Conveyor, tmp_path: Path
) -> None:
    job = ran(belt, belt.command("sh", "-c", "echo hello > a", artifacts=["a"]).enqueue())
    [file] = job.artifacts()
    for there in (b"hel", b"XXX", b"hello\n and more"):
        (tmp_path / f".a.{file.digest[:16]}.part").write_bytes(there)
        job.download("a", tmp_path / "a")
        assert (tmp_path / "a").read_text() == "hello\n"
    assert not list(tmp_path.glob(".a.*"))


def test_a_damaged_content_is_detected(tmp_path: Path, temporary: Path) -> None:
    belt = Conveyor(tmp_path / "jobs.db")
    job = ran(belt, belt.command("sh", "-c", "echo hello > a", artifacts=["a"]).enqueue())
    [file] = job.artifacts()
    (tmp_path / "jobs.db.files" / file.digest[:2] / file.digest).write_text("jello\n")
    with pytest.raises(CorruptStoreError, match="SHA-256"):
        job.download("a", tmp_path / "a")
    assert not (tmp_path / "a").exists()
    belt.close()
    assert list(temporary.iterdir()) == []


KILLED = """
import sys, time
from conveyor import Conveyor, current_job

belt = Conveyor(sys.argv[1])

@belt.task(name="stay", crash_limit=1)
def stay() -> None:
    (current_job().folder / "x").write_text("x")
    print("there", flush=True, file=sys.__stdout__)
    time.sleep(600)

if __name__ == "__main__":
    stay.enqueue()
    belt.work()
"""


def test_the_next_worker_removes_the_directories_of_a_killed_one(
    tmp_path: Path, temporary: Path, until: Callable[[Callable[[], object]], None]
) -> None:
    program = tmp_path / "killed.py"
    program.write_text(textwrap.dedent(KILLED))
    database = str(tmp_path / "jobs.db")
    process = subprocess.Popen([sys.executable, str(program), database], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    [left] = temporary.glob(f"{PREFIX}*/*/x")
    alive = WorkdirRoot()
    place = Path(alive.new_workdir().create())
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert left.exists()
    belt = Conveyor(database)
    belt.work(timeout=30)
    assert not left.parent.parent.exists()
    assert place.exists()
    alive.close()
    belt.close()
    assert list(temporary.iterdir()) == []
