"""The board: what a worker has begun, and that it lives, as others can read it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conveyor import UnavailableError
from conveyor.core.ids import IdMaker
from conveyor.core.job import WorkerInfo
from conveyor.system import crash_journal
from conveyor.system.crash_journal import Board, has_died
from conveyor.system.process_identity import boot_id, pid_started


def opened(folder: Path, places: int = 2) -> Board:
    shown = Board(str(folder), "w", places)
    shown.open()
    return shown


def info(**given: object) -> WorkerInfo:
    facts: dict[str, object] = {
        "boot_id": boot_id(), "pid": os.getpid(), "pid_started": pid_started(os.getpid()),
        "begun": "w",
    }  # fmt: skip
    facts |= given
    return WorkerInfo(id="w", host="h", started_at=0.0, slots=1, queues=(), **facts)  # type: ignore[arg-type]


def test_it_shows_what_was_begun_and_has_not_ended(tmp_path: Path) -> None:
    first, second, third = (IdMaker().make(1_000_000.0) for _ in range(3))
    shown = opened(tmp_path)
    place = shown.begin(first)
    shown.begin(second)
    assert crash_journal.read(str(tmp_path), "w") == {first, second}
    shown.end(place)
    shown.begin(third)
    assert crash_journal.read(str(tmp_path), "w") == {second, third}
    shown.wipe()
    assert crash_journal.read(str(tmp_path), "w") == frozenset()
    shown.close()
    assert list(tmp_path.iterdir()) == []


def test_its_room_on_the_disk_is_taken_before_a_job_begins(tmp_path: Path) -> None:
    # A full disk would otherwise kill the worker, by SIGBUS, when its first job begins.
    shown = opened(tmp_path, places=1000)
    assert (tmp_path / "w").stat().st_blocks * 512 >= 1000 * crash_journal.WIDTH
    shown.close()


def test_a_file_that_cannot_be_made_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    shown = Board(str(tmp_path / "file"), "w", 1)
    with pytest.raises(UnavailableError, match="cannot be made"):
        shown.open()
    shown.close()


def test_what_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    for folder, name in (("", "w"), (str(tmp_path), ""), (str(tmp_path), "nothing")):
        assert crash_journal.read(folder, name) is None
        assert crash_journal.is_held(folder, name) is None
        crash_journal.remove(folder, name)


def test_a_board_that_was_never_opened_notes_nothing(tmp_path: Path) -> None:
    closed = Board(str(tmp_path), "w", 1)
    closed.end(closed.begin("job"))
    closed.end(closed.begin("job"))
    closed.wipe()
    closed.close()
    assert crash_journal.read(str(tmp_path), closed.name) is None


def test_who_holds_the_lock_lives_whatever_its_pid_says(tmp_path: Path) -> None:
    shown = opened(tmp_path)
    elsewhere = boot_id().partition("/")[0] + "/pid:[1]"  # another container on this machine
    for alive in (info(), info(pid=2**22 + 1), info(boot_id=elsewhere)):
        assert not has_died(alive, str(tmp_path), boot_id())
    shown.let_go()
    assert has_died(info(), str(tmp_path), boot_id())
    assert has_died(info(boot_id=elsewhere), str(tmp_path), boot_id())
    # Of another machine a free lock says nothing: its file system may not pass locks on.
    assert not has_died(info(boot_id="other/pid:[1]"), str(tmp_path), boot_id())


def test_a_forked_child_of_a_job_does_not_keep_a_dead_worker_alive(tmp_path: Path) -> None:
    shown = opened(tmp_path)
    (go, going), (there, being) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(going)
        os.write(being, b"x")
        os.read(go, 1)
        os._exit(0)
    os.read(there, 1)
    shown.let_go()
    assert crash_journal.is_held(str(tmp_path), "w") is False
    os.close(going)
    os.waitpid(child, 0)
    for end in (go, there, being):
        os.close(end)
