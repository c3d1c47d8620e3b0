"""What enqueue and exec say of a job: its labels, its files and its artifacts."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from shell import Command

from conveyor import Conveyor

Start = Callable[..., "subprocess.Popen[str]"]


def test_exec_gives_files_to_a_command_and_gets_what_it_leaves(
    conveyor: Command, folder: Path
) -> None:
    (folder / "a.txt").write_text("one\n")
    script = "cat a.txt > b; mkdir dist; cp b dist; ls"
    ran = conveyor("exec", "--file", "a.txt", "--artifact", "dist/*", "--", "sh", "-c", script)
    assert (ran.code, ran.out) == (0, "a.txt\nb\ndist\n")
    assert ran.err == "dist/b: 4 bytes\n"
    assert (folder / "dist" / "b").read_text() == "one\n"
    assert not (folder / "b").exists()


def test_exec_gets_artifacts_of_a_command_that_failed_too(conveyor: Command, folder: Path) -> None:
    options = ["--artifact", "report", "-o", "results"]
    ran = conveyor("exec", *options, "--", "sh", "-c", "echo bad > report; exit 7")
    assert ran.code == 7
    assert (folder / "results" / "report").read_text() == "bad\n"


def test_the_options_of_a_command_are_its_own(conveyor: Command, folder: Path) -> None:
    assert folder.exists()
    ran = conveyor("exec", "echo", "-o", "x", "--file", "a", "--artifact", "--queue", "-h")
    assert (ran.code, ran.out) == (0, "-o x --file a --artifact --queue -h\n")


def test_exec_says_how_to_get_artifacts_that_it_could_not_write(
    conveyor: Command, folder: Path
) -> None:
    (folder / "dist").touch()
    script = "mkdir dist; echo one > dist/a; exit 5"
    ran = conveyor("exec", "--artifact", "dist/*", "--", "sh", "-c", script)
    assert ran.code == 5
    [job] = conveyor("ps", "--json").data
    assert f"conveyor artifacts {job['id']} get" in ran.err


def test_exec_waits_for_a_worker_with_the_labels_it_requires(
    start: Start, folder: Path, belt: Conveyor
) -> None:
    assert folder.exists()
    running = start("exec", "--require", "gpu", "--", "echo", "done")
    assert running.stderr is not None
    assert "waiting: no worker of queue exec has the labels gpu" in running.stderr.readline()
    assert belt.work(queues=["exec"], labels=frozenset({"gpu"}), timeout=30, keep=False) == 1
    assert running.communicate(timeout=30)[0] == "done\n"
    assert running.returncode == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--file", "=a"], "expected PATH or NAME=PATH"),
        (["--file", "a", "--file", "b/a"], "duplicate name 'a'"),
        (["--file", "a=not-there"], "not-there"),
        (["--file", "/a=app.py"], "a file name must be a relative path within the job's directory"),
        (["--artifact", "../a"], "a file name must be a relative path within the job's directory"),
        (["-o", "somewhere"], "-o requires --artifact"),
        (["--artifact", "a", "-o", "app.py"], "cannot create the directory 'app.py'"),
    ],
)
def test_exec_says_what_is_wrong_and_enqueues_nothing(
    conveyor: Command, belt: Conveyor, options: list[str], said: str
) -> None:
    assert belt.store.counts().result() == []
    ran = conveyor("exec", *options, "--", "true")
    assert ran.code == 2
    assert said in ran.err
    assert conveyor("ps", "--json").data == []


@pytest.mark.parametrize("through", [[], ["--app", "app:belt"]])
def test_enqueue_has_labels_files_and_artifacts(
    conveyor: Command, belt: Conveyor, folder: Path, through: list[str]
) -> None:
    (folder / "in.csv").write_text("1,2\n")
    options = ["--require", "gpu", "--file", "data.csv=in.csv", "--artifact", "out/*.png"]
    ran = conveyor("enqueue", "send", "to=ann", "--queue", "mail", *options, *through)
    assert ran.code == 0, ran.err
    found = belt.job(ran.out.strip()).refresh().record.options
    assert (found.requires, found.artifacts) == (("gpu",), ("out/*.png",))
    assert [(file.name, file.size) for file in found.files] == [("data.csv", 4)]


def test_enqueue_leaves_the_labels_that_the_task_itself_requires(
    conveyor: Command, belt: Conveyor
) -> None:
    ran = conveyor("enqueue", "pack", "--app", "app:belt")
    assert belt.job(ran.out.strip()).refresh().record.options.requires == ("gpu",)
