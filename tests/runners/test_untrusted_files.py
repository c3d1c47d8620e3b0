"""Folders of jobs that run as another user: usable, private, and no way to what root can read."""

from __future__ import annotations

import asyncio
import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from runner_helpers import CANCEL, RecordingSink, command, eventually, run_jobs, shell

from conveyor.core.command_policy import CommandRules
from conveyor.core.files import InputFile
from conveyor.core.job import COMMAND_TASK, NewJob
from conveyor.core.lifecycle import Failed, Succeeded
from conveyor.runners.artifacts import find_artifacts
from conveyor.runners.command import CommandRunner
from conveyor.runners.job_control import JobControl, RunResult, Stopped
from conveyor.runners.rmtree import remove_tree
from conveyor.runners.untrusted_files import file_opener
from conveyor.runners.workdir import WorkdirRoot
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Claimant, Want
from conveyor.worker.job_files import runners_with_files

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
NOBODY = CommandRules(user="nobody")
ME = os.getuid()


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder for temporary files that everybody can pass through."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture
def scratch(temporary: Path) -> Iterator[WorkdirRoot]:
    scratch = WorkdirRoot()
    yield scratch
    scratch.close()
    assert list(temporary.iterdir()) == []


def claimed(store: MemoryStore, script: str, *artifacts: str, cwd: str | None = None) -> JobControl:
    """Return the control of a job with an input, running by the store too."""
    data = b"given\n"
    digest = hashlib.sha256(data).hexdigest()
    store.write_content(digest, 0, data, last=True).result()
    files = tuple(InputFile(name=name, digest=digest, size=6) for name in ("in", "deep/er/in"))
    made = command("sh", "-c", script, sink=RecordingSink(), cwd=cwd)
    options = msgspec.structs.replace(made.job.options, files=files, artifacts=artifacts)
    new = NewJob(id="job", task=COMMAND_TASK, args=made.job.args, options=options)
    store.insert([new]).result()
    [job] = store.claim([Want("default", 1)], Claimant("w"), limit=1).result().jobs
    return JobControl(job, made.task, made.sink)


def run(
    store: MemoryStore, scratch: WorkdirRoot, control: JobControl, rules: CommandRules
) -> RunResult:
    def runner() -> Any:
        made = {"command": CommandRunner(rules=rules)}
        return runners_with_files(made, store=store, workdir_root=scratch)["command"]  # type: ignore[arg-type]

    [ending] = run_jobs(runner, control)
    return ending


def kept(store: MemoryStore) -> dict[str, bytes]:
    return {
        each.name: store.read_content(each.digest, 0, 1000).result()
        for each in store.files("job").result()
        if each.kind == "artifact"
    }


def said(control: JobControl) -> str:
    assert isinstance(control.sink, RecordingSink)
    return control.sink.text("mark")


@root
def test_a_command_of_another_user_works_in_its_folder(scratch: WorkdirRoot) -> None:
    store = MemoryStore()
    script = "cat in deep/er/in > out; rm in; echo more >> deep/er/in; stat -c %U . deep deep/er/in"
    control = claimed(store, script, "out", "**/in")
    assert isinstance(run(store, scratch, control, NOBODY), Succeeded)
    assert kept(store) == {"out": b"given\ngiven\n", "deep/er/in": b"given\nmore\n"}
    assert isinstance(control.sink, RecordingSink)
    assert control.sink.text().split() == ["nobody"] * 3


@root
def test_only_the_user_can_enter_its_workdir_and_nobody_can_list_the_others(
    scratch: WorkdirRoot,
) -> None:
    account = pwd.getpwnam("nobody")
    theirs, ours = scratch.new_workdir(), scratch.new_workdir()
    for place in (theirs, ours):
        Path(place.create(), "x").write_text("x")
    theirs.give_to(account.pw_uid, account.pw_gid)

    def may(test: str, path: Path, user: str | int) -> bool:
        return not subprocess.run(["test", test, path], user=user, check=False).returncode

    folder = Path(theirs.path)
    assert may("-w", folder / "x", "nobody")
    assert not may("-e", folder / "x", account.pw_uid - 1)
    assert not may("-e", Path(ours.path) / "x", "nobody")
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o711
    assert not may("-r", folder.parent, "nobody")
    assert not may("-w", folder.parent, "nobody")
    # A worker without another user lives beside it as before.
    second = WorkdirRoot()
    assert stat.S_IMODE(Path(second.new_workdir().create()).parent.stat().st_mode) == 0o700
    second.close()


@root
def test_no_link_gives_access_to_files_that_the_user_cannot_read(
    scratch: WorkdirRoot, temporary: Path
) -> None:
    secret = temporary / "secret"
    secret.mkdir(mode=0o700)
    (secret / "key").write_text("secret")
    os.chmod(secret / "key", 0o600)
    store = MemoryStore()
    script = f"ln -s {secret}/key a.key; ln -s {secret} b; ln -s in c.key; mkfifo d.key; :>e.key"
    control = claimed(store, script, "*.key", "b/*", "**/key", "b")
    assert isinstance(run(store, scratch, control, NOBODY), Succeeded)
    assert kept(store) == {"e.key": b""}
    assert "'a.key' is not kept: it is a symbolic link" in said(control)
    assert "no file matches 'b/*'" in said(control)
    assert "b/key" not in said(control)  # not even that it is there
    shutil.rmtree(secret)


@root
def test_a_hard_link_to_another_users_file_is_no_artifact(scratch: WorkdirRoot) -> None:
    store = MemoryStore()
    place = scratch.new_workdir()
    Path(place.create(), "shadow").write_text("root's")
    account = pwd.getpwnam("nobody")
    place.give_to(account.pw_uid, account.pw_gid)
    os.chown(Path(place.path, "shadow"), 0, 0)  # as a hard link would look
    found = find_artifacts(place.path, ["*"], {}, 1000, owner=account.pw_uid)
    assert (found.files, found.marks[0]) == (
        {},
        "'shadow' is not kept: another user owns it",
    )
    place.remove()
    store.close()


@root
def test_a_directory_elsewhere_yields_only_files_of_the_user(
    scratch: WorkdirRoot, temporary: Path
) -> None:
    there = temporary / "there"
    (there / "closed").mkdir(parents=True)
    (there / "closed").chmod(0o700)
    (there / "closed" / "hidden.txt").write_text("root's")
    (there / "readme.txt").write_text("root's")
    shutil.chown(there, "nobody")
    store = MemoryStore()
    control = claimed(store, "echo mine > mine.txt", "**/*.txt", cwd=str(there))
    assert isinstance(run(store, scratch, control, NOBODY), Succeeded)
    assert kept(store) == {"mine.txt": b"mine\n"}
    assert "'readme.txt' is not kept: another user owns it" in said(control)
    assert "hidden" not in said(control)
    shutil.rmtree(there)


@root
def test_a_file_that_is_replaced_by_a_link_after_the_check_is_not_read(temporary: Path) -> None:
    account = pwd.getpwnam("nobody")
    folder = temporary / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "passwd").write_text("mine")
    subprocess.run(["chown", "-R", "nobody", folder], check=True)
    opens = file_opener(str(folder), account.pw_uid)
    found = find_artifacts(str(folder), ["**/passwd"], {}, 1000, owner=account.pw_uid)
    path = found.files["sub/passwd"]
    os.close(opens(path))
    (folder / "sub" / "passwd").unlink()
    (folder / "sub" / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="passwd"):
        opens(path)
    shutil.rmtree(folder / "sub")
    (folder / "sub").symlink_to("/etc")
    with pytest.raises(NotADirectoryError):
        opens(path)
    shutil.rmtree(folder)


@root
def test_the_workdir_of_another_user_is_removed_whatever_the_job_did(scratch: WorkdirRoot) -> None:
    store = MemoryStore()
    script = "mkdir -p a/b; echo x > a/b/c; chmod 0 a/b a in; ln -s / l; chmod 0 ."
    control = claimed(store, script, "nothing")
    assert isinstance(run(store, scratch, control, NOBODY), Succeeded)
    assert control.workdir is not None
    assert not Path(control.workdir.path).exists()


@root
def test_a_cancelled_command_of_another_user_leaves_no_workdir(scratch: WorkdirRoot) -> None:
    store = MemoryStore()
    control = claimed(store, "echo going; sleep 300", "out")

    async def main() -> None:
        runner = CommandRunner(rules=NOBODY)
        made = runners_with_files({"command": runner}, store=store, workdir_root=scratch)["command"]
        running = asyncio.create_task(made.run(control))
        assert isinstance(control.sink, RecordingSink)
        sink = control.sink
        await eventually(sink.text)
        control.stop(CANCEL)
        assert isinstance(await running, Stopped)
        await runner.close()

    asyncio.run(main())
    assert control.workdir is not None
    assert not Path(control.workdir.path).exists()


@root
def test_a_workdir_that_the_user_cannot_reach_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tempfile.TemporaryDirectory() as closed:
        monkeypatch.setattr(tempfile, "tempdir", closed)
        scratch = WorkdirRoot()
        ending = run(MemoryStore(), scratch, claimed(MemoryStore(), "true"), NOBODY)
        scratch.close()
    assert isinstance(ending, Failed)


@root
def test_a_tree_without_permissions_is_removed_by_a_user_who_is_not_root(temporary: Path) -> None:
    folder = temporary / "folder"
    (folder / "a" / "b" / "c").mkdir(parents=True)
    (folder / "a" / "b" / "file").write_text("x")
    (folder / "out").symlink_to(temporary)
    subprocess.run(["chown", "-R", "nobody", temporary], check=True)
    for path in (folder / "a" / "b" / "c", folder / "a" / "b", folder / "a", folder):
        path.chmod(0)
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        remove_tree(str(folder))
    finally:
        os.seteuid(0)
    assert list(temporary.iterdir()) == []


def test_the_workdir_is_not_given_to_the_workers_own_user(scratch: WorkdirRoot) -> None:
    store = MemoryStore()
    control = claimed(store, "cp in out; ln -s out also", "out", "also")
    rules = CommandRules(user=str(os.geteuid()))
    assert isinstance(run(store, scratch, control, rules), Succeeded)
    assert sorted(kept(store)) == ["also", "out"]
    assert shell("true").workdir_owner is control.workdir_owner is None


def test_many_refused_links_are_counted_and_not_listed(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02}").symlink_to("/etc/passwd")
    found = find_artifacts(str(tmp_path), ["*"], {}, 1000, owner=ME)
    assert found.files == {}
    assert len(found.marks) == 22
    assert list(found.marks[-2:]) == ["10 more files are not kept", "no file matches '*'"]


@pytest.mark.parametrize("pattern", ["*", "a", "*.x", "**/*.x", "b/**/a.x", "?", "[ab]", "b/*/*"])
def test_patterns_match_as_they_do_for_trusted_files(pattern: str, tmp_path: Path) -> None:
    for name in ("a", "a.x", "b/a.x", "b/c/a.x", "b/c/d/a.x", ".x", "b/.h/a"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    as_ever = find_artifacts(str(tmp_path), [pattern], {}, 1000)
    assert as_ever.files
    assert find_artifacts(str(tmp_path), [pattern], {}, 1000, owner=ME) == as_ever
