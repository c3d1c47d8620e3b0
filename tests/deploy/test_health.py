"""A worker's health file: what it says, when a probe believes it, and the probe itself."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from conveyor.cli.shared.heartbeat import Heartbeat
from conveyor.core.job import WorkerInfo
from conveyor.errors import UsageError
from conveyor.system.process_identity import boot_id, pid_started
from conveyor.worker.health import (
    DRAINING,
    FRESH,
    READY,
    Health,
    health,
    is_gone,
    judge,
    read,
    write,
)

NOW = 1_000_000.0
Until = Callable[[Callable[[], object]], None]


def info(*, draining: bool = False) -> WorkerInfo:
    return WorkerInfo(
        id="w", host="h", boot_id=boot_id(), pid=os.getpid(), pid_started=pid_started(os.getpid()),
        started_at=NOW, slots=4, queues=("q",), running=1, draining=draining,
    )  # fmt: skip


def found(*, at: float = NOW, draining: bool = False) -> Health:
    return health(info(draining=draining), at)


def test_a_fresh_file_is_a_living_worker_and_an_old_one_is_not() -> None:
    assert judge(found(), now=NOW).ok
    assert judge(found(), now=NOW + FRESH).ok
    assert not judge(found(), now=NOW + FRESH + 1).ok
    assert not judge(found(), now=NOW - FRESH - 1).ok, "the clock was set back; so far ahead is odd"
    assert not judge(None, now=NOW).ok


def test_a_process_that_is_gone_is_no_worker_however_fresh_its_file() -> None:
    assert not judge(found(), now=NOW, gone=True).ok


def test_a_draining_worker_lives_and_is_not_ready() -> None:
    assert judge(found(), now=NOW, ready=True).ok
    assert judge(found(draining=True), now=NOW).ok
    assert not judge(found(draining=True), now=NOW, ready=True).ok
    assert [found().state, found(draining=True).state] == [READY, DRAINING]


def test_a_process_is_gone_only_where_it_would_be_seen() -> None:
    mine = found()
    assert not is_gone(mine)
    assert is_gone(msgspec.structs.replace(mine, pid_started=1.0)), "another has its number now"
    elsewhere = msgspec.structs.replace(mine, pid_started=1.0, boot_id="another container")
    assert not is_gone(elsewhere)


def test_the_file_is_replaced_as_a_whole_and_read_back(tmp_path: Path) -> None:
    path = str(tmp_path / "health.json")
    assert read(path) is None
    write(path, found())
    write(path, found(at=NOW + 1))
    assert read(path) == found(at=NOW + 1)
    assert os.listdir(tmp_path) == ["health.json"]
    Path(path).write_text('{"worker": ')
    assert read(path) is None


def test_a_pulse_writes_at_most_twice_a_second_and_at_once_when_the_state_changes(
    tmp_path: Path,
) -> None:
    now = [0.0]
    path = tmp_path / "health.json"
    write(str(path), found())
    heartbeat = Heartbeat(str(path), "", elapsed=lambda: now[0])
    assert not path.exists(), "what another worker wrote is gone"
    written: list[int] = []
    for at, draining in ((0.0, False), (0.1, False), (0.2, True), (0.3, True), (0.9, True)):
        now[0] = at
        heartbeat.report(info(draining=draining))
        written.append(path.stat().st_ino)
    assert [a == b for a, b in itertools.pairwise(written)] == [
        True, False, True, False,
    ]  # fmt: skip
    heartbeat.close()
    assert os.listdir(tmp_path) == []


def test_a_place_where_nothing_can_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not writable"):
        Heartbeat(str(tmp_path / "nowhere" / "health.json"), "")


def test_a_full_disk_later_on_does_not_stop_the_worker(tmp_path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    heartbeat = Heartbeat(str(folder / "health.json"), "")
    folder.rmdir()
    heartbeat.report(info())


def probe(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "conveyor", "doctor", "--quick", *flags]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_probe_follows_a_worker_from_its_start_to_its_end(tmp_path: Path, until: Until) -> None:
    (tmp_path / "app.py").write_text("from conveyor import Conveyor\nbelt = Conveyor('jobs.db')\n")
    flag = ("--health-file", "health.json")
    assert probe(tmp_path, *flag).returncode == 1
    command = [sys.executable, "-m", "conveyor", "worker", "app:belt", *flag]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as worker:
        try:
            until((tmp_path / "health.json").exists)
            assert probe(tmp_path, *flag).returncode == 0
            ready = probe(tmp_path, *flag, "--ready", "--json")
            assert (ready.returncode, msgspec.json.decode(ready.stdout)["ok"]) == (0, True)
            nowhere = ("--url", str(tmp_path / "nowhere" / "jobs.db"))
            assert probe(tmp_path, *flag, "--ready", *nowhere).returncode == 1
        finally:
            worker.send_signal(signal.SIGTERM)
    assert not (tmp_path / "health.json").exists()
    assert probe(tmp_path, *flag).returncode == 1


def test_the_probe_sees_that_a_worker_was_killed(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        at = time.time()
        alive = msgspec.structs.replace(
            found(at=at), pid=process.pid, pid_started=pid_started(process.pid)
        )
        write(str(tmp_path / "health.json"), alive)
        assert probe(tmp_path, "--health-file", "health.json").returncode == 0
        process.kill()
        process.wait()
        ran = probe(tmp_path, "--health-file", "health.json")
    assert (ran.returncode, "is gone" in ran.stderr) == (1, True)


def test_the_probe_loads_neither_store_nor_application(tmp_path: Path) -> None:
    program = (
        "import sys; from conveyor.cli.main import run; run(sys.argv[1:]);"
        "heavy = ('apsw', 'asyncio', 'rich', 'conveyor.app');"
        "print([name for name in heavy if name in sys.modules])"
    )
    command = [sys.executable, "-c", program, "doctor", "--quick", "--health-file", "h"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_ready_without_a_file_to_look_at_is_wrong_use(tmp_path: Path) -> None:
    ran = probe(tmp_path, "--ready")
    assert (ran.returncode, "--health-file" in ran.stderr) == (2, True)
