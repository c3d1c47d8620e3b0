"""Folders of jobs: private, gone in good time, and safe where others can write."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from conveyor.runners.machine_fault import MachineError
from conveyor.runners.rmtree import remove_tree
from conveyor.runners.workdir import WorkdirRoot

PREFIX = f"conveyor-{os.getuid()}-"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of our own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def swept() -> None:
    """Have a worker come and go that needs no folder."""
    passing = WorkdirRoot()
    passing.remove_stale()
    passing.close()


def test_nothing_exists_before_the_first_use_nor_after_the_last(temporary: Path) -> None:
    scratch = WorkdirRoot()
    place = scratch.new_workdir()
    assert place.path.startswith(str(temporary / PREFIX))
    assert list(temporary.iterdir()) == []
    for _ in range(2):
        assert Path(place.create()).is_dir()
    assert {path.stat().st_mode & 0o777 for path in temporary.rglob("*")} == {0o700}
    scratch.close(timeout=60)
    assert list(temporary.iterdir()) == []


def test_a_workdir_that_an_abandoned_job_uses_stays_and_nothing_else(temporary: Path) -> None:
    scratch = WorkdirRoot()
    used = scratch.new_workdir()
    used.create()
    scratch.close(in_use=True)
    swept()
    assert Path(used.path).exists()
    used.remove()
    scratch.close(in_use=True)
    assert list(temporary.iterdir()) == []


def test_each_job_has_its_own_workdir(temporary: Path) -> None:
    scratch = WorkdirRoot()
    first, second = scratch.new_workdir(), scratch.new_workdir()
    Path(first.create(), "x").write_text("x")
    assert list(Path(second.create()).iterdir()) == []
    first.remove()
    assert not Path(first.path).exists()
    assert Path(second.path).exists()
    scratch.close(timeout=60)


def test_workdirs_of_dead_workers_are_removed_and_those_of_live_ones_stay(temporary: Path) -> None:
    alive, dead = WorkdirRoot(), WorkdirRoot()
    kept, left = Path(alive.new_workdir().create()), Path(dead.new_workdir().create())
    (left / "sub").mkdir()
    (left / "sub" / "x").write_text("x")
    (left / "sub").chmod(0)
    swept()
    assert kept.exists()
    assert left.exists()
    dead.release()  # as the kernel does
    swept()
    assert kept.exists()
    assert not left.parent.exists()
    alive.close()
    assert list(temporary.iterdir()) == []


def test_a_child_that_a_job_forks_does_not_hold_the_lock(temporary: Path) -> None:
    scratch = WorkdirRoot()
    left = Path(scratch.new_workdir().create())
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    scratch.release()  # as if this process had been killed
    swept()
    assert not left.exists()
    os.write(go[1], b"x")
    os.waitpid(child, 0)
    for end in (*ready, *go):
        os.close(end)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("kind", ["directory", "file", "link", "the old name"])
def test_what_others_put_into_the_directory_for_temporary_files_is_neither_used_nor_removed(
    kind: str, temporary: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    precious = tmp_path_factory.mktemp("precious")
    (precious / "x").write_text("x")
    theirs = temporary / f"{PREFIX}0123456789abcdef"
    match kind:
        case "directory":
            theirs.mkdir()
            if os.geteuid() == 0:
                os.chown(theirs, 65534, 65534)
        case "file":
            theirs.write_text("x")
        case "link":
            theirs.symlink_to(precious)
        case _:
            theirs = temporary / PREFIX.removesuffix("-")
            theirs.mkdir(mode=0o777)
    scratch = WorkdirRoot()
    scratch.remove_stale()
    assert Path(scratch.new_workdir().create()).is_dir()
    scratch.close(timeout=60)
    assert (precious / "x").exists()
    # A directory that looks like a leftover of ours can only be made by us, or by root.
    kept = kind != "directory" or os.geteuid() == 0
    assert list(temporary.iterdir()) == [theirs] * kept


def test_nobody_can_guess_the_name_of_a_worker_s_directory(temporary: Path) -> None:
    names = {Path(WorkdirRoot().path).name for _ in range(100)}
    assert len(names) == 100
    assert {len(name) for name in names} == {len(PREFIX) + 16}


def test_a_directory_that_a_job_has_removed_is_created_anew_under_another_name(
    temporary: Path,
) -> None:
    scratch = WorkdirRoot()
    before, announced = scratch.new_workdir(), scratch.new_workdir()
    removed = Path(before.create()).parent
    assert announced.path.startswith(str(removed))
    shutil.rmtree(removed)
    removed.mkdir()  # and another one put there
    after = Path(scratch.new_workdir().create())
    assert after.is_dir()
    assert after.parent != removed
    with pytest.raises(MachineError):  # a child process was told this path already
        announced.create()
    removed.rmdir()
    scratch.close(timeout=60)
    assert list(temporary.iterdir()) == []


def test_a_workdir_that_cannot_be_created_is_a_fault_of_the_machine(temporary: Path) -> None:
    scratch = WorkdirRoot()
    Path(scratch.path).touch()
    with pytest.raises(MachineError, match="File exists"):
        scratch.new_workdir().create()
    Path(scratch.path).unlink()
    taken = scratch.new_workdir()
    scratch.create()
    Path(taken.path).mkdir()
    with pytest.raises(MachineError, match="File exists"):
        taken.create()
    assert Path(scratch.new_workdir().create()).is_dir()
    scratch.close(timeout=60)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("depth", [5, 3000])
def test_a_workdir_is_removed_however_deep_it_is(depth: int, temporary: Path) -> None:
    scratch = WorkdirRoot()
    path = scratch.new_workdir().create()
    here = os.open(path, os.O_RDONLY)
    for number in range(depth):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        if number % 7 == 0:
            os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=inner))
            os.fchmod(here, 0)
        os.close(here)
        here = inner
    os.close(here)
    scratch.close(timeout=60)
    assert list(temporary.iterdir()) == []


def test_a_directory_that_takes_long_to_remove_keeps_no_worker_from_its_exit(
    temporary: Path, until: Callable[[Callable[[], object]], None]
) -> None:
    goes_on = threading.Event()

    def remove(path: str) -> None:
        goes_on.wait(60)
        remove_tree(path)

    scratch = WorkdirRoot(remove)
    path = Path(scratch.new_workdir().create())
    scratch.close(timeout=0.05)
    assert path.is_dir()
    other = WorkdirRoot()
    other.remove_stale()
    other.close(timeout=60)
    assert path.is_dir()  # it is still locked
    goes_on.set()
    until(lambda: not list(temporary.iterdir()))
