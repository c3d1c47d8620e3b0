"""The crash journal: which jobs a worker has started, and whether the worker lives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conveyor import UnavailableError
from conveyor.core.ids import IdMaker
from conveyor.core.job import WorkerInfo
from conveyor.system import crash_journal
from conveyor.system.crash_journal import CrashJournal, has_died
from conveyor.system.process_identity import boot_id, pid_started


def opened(folder: Path, entries: int = 2) -> CrashJournal:
    journal = CrashJournal(str(folder), "w", entries)
    journal.open()
    return journal


def info(**given: object) -> WorkerInfo:
    facts: dict[str, object] = {
        "boot_id": boot_id(), "pid": os.getpid(), "pid_started": pid_started(os.getpid()),
        "begun": "w",
    }  # fmt: skip
    facts |= given
    return WorkerInfo(id="w", host="h", started_at=0.0, slots=1, queues=(), **facts)  # type: ignore[arg-type]


def test_the_journal_lists_the_jobs_that_started_and_have_not_ended(tmp_path: Path) -> None:
    first, second, third = (IdMaker().make(1_000_000.0) for _ in range(3))
    journal = opened(tmp_path)
    entry = journal.record_start(first)
    journal.record_start(second)
    assert crash_journal.read(str(tmp_path), "w") == {first, second}
    journal.record_end(entry)
    journal.record_start(third)
    assert crash_journal.read(str(tmp_path), "w") == {second, third}
    journal.clear()
    assert crash_journal.read(str(tmp_path), "w") == frozenset()
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_its_disk_space_is_allocated_before_a_job_starts(tmp_path: Path) -> None:
    # A full disk would otherwise kill the worker, by SIGBUS, when its first job begins.
    journal = opened(tmp_path, entries=1000)
    assert (tmp_path / "w").stat().st_blocks * 512 >= 1000 * crash_journal.WIDTH
    journal.close()


def test_a_file_that_cannot_be_created_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    journal = CrashJournal(str(tmp_path / "file"), "w", 1)
    with pytest.raises(UnavailableError, match="cannot create"):
        journal.open()
    journal.close()


def test_a_journal_that_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    for folder, name in (("", "w"), (str(tmp_path), ""), (str(tmp_path), "nothing")):
        assert crash_journal.read(folder, name) is None
        assert crash_journal.is_locked(folder, name) is None
        crash_journal.remove(folder, name)


def test_a_journal_that_was_never_opened_records_nothing(tmp_path: Path) -> None:
    closed = CrashJournal(str(tmp_path), "w", 1)
    closed.record_end(closed.record_start("job"))
    closed.record_end(closed.record_start("job"))
    closed.clear()
    closed.close()
    assert crash_journal.read(str(tmp_path), closed.name) is None


def test_a_worker_that_holds_the_lock_is_alive_whatever_its_pid(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    elsewhere = boot_id().partition("/")[0] + "/pid:[1]"  # another container on this machine
    for alive in (info(), info(pid=2**22 + 1), info(boot_id=elsewhere)):
        assert not has_died(alive, str(tmp_path), boot_id())
    journal.release()
    assert has_died(info(), str(tmp_path), boot_id())
    assert has_died(info(boot_id=elsewhere), str(tmp_path), boot_id())
    # Of another machine a free lock says nothing: its file system may not pass locks on.
    assert not has_died(info(boot_id="other/pid:[1]"), str(tmp_path), boot_id())


def test_a_forked_child_of_a_job_does_not_keep_a_dead_worker_alive(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    (go, going), (there, being) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(going)
        os.write(being, b"x")
        os.read(go, 1)
        os._exit(0)
    os.read(there, 1)
    journal.release()
    assert crash_journal.is_locked(str(tmp_path), "w") is False
    os.close(going)
    os.waitpid(child, 0)
    for end in (go, there, being):
        os.close(end)


def test_journals_without_a_living_worker_are_found(tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert crash_journal.find_unlocked(str(tmp_path / "not there"), ()) == frozenset()
    living = CrashJournal(folder, "living", 1)
    living.open()
    for name in ("dead", "known"):
        (tmp_path / name).write_bytes(b"")
    assert crash_journal.find_unlocked(folder, {"known"}) == {"dead"}
    living.release()
    assert crash_journal.find_unlocked(folder, {"known"}) == {"dead", "living"}
    assert crash_journal.find_unlocked("", ()) == frozenset()
