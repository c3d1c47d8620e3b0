"""Folders of jobs: private, gone in good time, and safe where others can write."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from conveyor.errors import UsageError
from conveyor.runners.workdir import WorkdirRoot

SHARED = f"conveyor-{os.getuid()}"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of our own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def swept() -> None:
    """Have a worker come and go that needs no folder."""
    passing = WorkdirRoot("passing")
    passing.remove_stale()
    passing.close()


def test_nothing_exists_before_the_first_use_nor_after_the_last(temporary: Path) -> None:
    scratch = WorkdirRoot("w")
    place = scratch.new_workdir()
    assert place.path.startswith(str(temporary / SHARED / "w"))
    assert list(temporary.iterdir()) == []
    for _ in range(2):
        assert Path(place.create()).is_dir()
    assert {path.stat().st_mode & 0o777 for path in temporary.rglob("*")} == {0o700}
    scratch.close()
    assert list(temporary.iterdir()) == []


def test_a_workdir_that_an_abandoned_job_uses_stays_and_nothing_else(temporary: Path) -> None:
    scratch = WorkdirRoot("w")
    used = scratch.new_workdir()
    used.create()
    scratch.close(in_use=True)
    swept()
    assert Path(used.path).exists()
    used.remove()
    scratch.close(in_use=True)
    assert list(temporary.iterdir()) == []


def test_each_job_has_its_own_workdir(temporary: Path) -> None:
    scratch = WorkdirRoot("w")
    first, second = scratch.new_workdir(), scratch.new_workdir()
    Path(first.create(), "x").write_text("x")
    assert list(Path(second.create()).iterdir()) == []
    first.remove()
    assert not Path(first.path).exists()
    assert Path(second.path).exists()
    scratch.close()


def test_workdirs_of_dead_workers_are_removed_and_those_of_live_ones_stay(temporary: Path) -> None:
    alive, dead = WorkdirRoot("alive"), WorkdirRoot("dead")
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
    scratch = WorkdirRoot("w")
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


def open_to_others(shared: Path) -> None:
    shared.mkdir()
    shared.chmod(0o750)


def a_link(shared: Path) -> None:
    (shared.parent / "elsewhere").mkdir(mode=0o700)
    shared.symlink_to(shared.parent / "elsewhere")


def a_file(shared: Path) -> None:
    shared.write_text("x")


@pytest.mark.parametrize("make", [open_to_others, a_link, a_file])
def test_a_directory_that_others_may_have_created_is_not_used(
    make: Callable[[Path], None], temporary: Path
) -> None:
    make(temporary / SHARED)
    before = sorted(temporary.rglob("*"))
    scratch = WorkdirRoot("w")
    scratch.remove_stale()
    with pytest.raises(UsageError, match="must be a directory that this user owns"):
        scratch.new_workdir().create()
    scratch.close()
    assert sorted(temporary.rglob("*")) == before


def test_a_link_in_place_of_a_dead_workers_directory_is_not_followed(
    temporary: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    precious = tmp_path_factory.mktemp("precious")
    (precious / "x").write_text("x")
    alive = WorkdirRoot("alive")
    alive.create()
    (temporary / SHARED / "dead").symlink_to(precious)
    swept()
    assert (precious / "x").exists()
    (temporary / SHARED / "dead").unlink()
    alive.close()


@pytest.mark.parametrize("depth", [5, 3000])
def test_a_workdir_is_removed_however_deep_it_is(depth: int, temporary: Path) -> None:
    scratch = WorkdirRoot("w")
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
    scratch.close()
    assert list(temporary.iterdir()) == []
