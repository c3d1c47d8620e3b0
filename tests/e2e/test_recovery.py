"""A worker is killed, alone on its host: its jobs are back at once, with what is known of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from conveyor import Conveyor, State
from conveyor.client.job_handle import Job
from conveyor.maintenance.rescuer import SIDECAR_TIME

pytestmark = pytest.mark.alone

Until = Callable[..., None]

APP = """
import time
from conveyor import Conveyor

belt = Conveyor()


@belt.task(name="long")
def long() -> None:
    ballast = bytearray(50_000_000)
    print("begun", flush=True)
    time.sleep(60)
"""
# As a user's promise, with what a loaded machine may add; but without what a slow fsync does.
BACK_WITHIN = 1.0


def nothing() -> None: ...


@pytest.fixture(params=["sqlite", "postgres"])
def belt(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Conveyor]:
    (tmp_path / "app.py").write_text(APP)
    # Where workers of one machine leave files for each other, if they share a database.
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with ExitStack() as stack:
        url = f"{tmp_path}/jobs.db?durability=normal"
        if request.param == "postgres":
            url = stack.enter_context(request.getfixturevalue("schemas").one())
        opened = Conveyor(url)
        stack.callback(opened.close)
        opened.task(name="long")(nothing)
        yield opened


@contextmanager
def worker(
    belt: Conveyor, folder: Path, *before: str, more: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    command = [*before, sys.executable, "-m", "conveyor", "worker", "app:belt", "-c", "4"]
    command += ["--url", belt.store.url + more]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def begun(belt: Conveyor, until: Until, count: int = 1) -> list[Job[None]]:
    jobs = belt.functions["long"].enqueue_many([()] * count)
    until(lambda: all(job.logs() for job in jobs))
    return jobs


def seconds_until_back(jobs: list[Job[None]], until: Until) -> float:
    started = time.monotonic()
    until(lambda: all(job.refresh().state is State.AVAILABLE for job in jobs))
    return time.monotonic() - started


def test_the_jobs_of_a_killed_worker_are_rescued_at_once_with_the_evidence(
    belt: Conveyor, tmp_path: Path, until: Until
) -> None:
    with worker(belt, tmp_path) as process:
        jobs = begun(belt, until, 3)
        process.kill()
        assert seconds_until_back(jobs, until) < BACK_WITHIN
    for job in jobs:
        record = job.refresh().record
        assert (record.attempt, record.crashes) == (0, 1)
        [line] = job.history()
        assert line.error.type == "WorkerLost"
        assert "killed by SIGKILL, possibly by the kernel's OOM killer" in line.error.message
    # The jobs come first; then the sidecar clears away what the worker was.
    until(lambda: belt.store.workers().result() == [])
    until(lambda: list(Path(belt.store.folder).iterdir()) == [])


def test_another_worker_rescues_the_jobs_if_the_sidecar_is_killed_too(
    belt: Conveyor, tmp_path: Path, until: Until
) -> None:
    with worker(belt, tmp_path) as process:
        jobs = begun(belt, until)
        # Both names lead to the same store.
        more = "&connections=2" if "postgresql" in belt.store.url else "&"
        with worker(belt, tmp_path, more=more):
            until(lambda: len(belt.store.workers().result()) == 2)
            for pid in _children(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.kill()
            killed = time.monotonic()
            until(lambda: jobs[0].refresh().record.lease == 2)
            # By its lock: what its process shows is believed later, for the sake of a sidecar.
            assert time.monotonic() - killed < SIDECAR_TIME
    assert jobs[0].record.crashes == 1


def test_a_dead_worker_of_another_container_is_detected_by_its_lock(
    belt: Conveyor, tmp_path: Path, until: Until
) -> None:
    # Its pid says nothing here, and everything of it dies with its container, the sidecar as well.
    apart = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid():
        apart += ["--user", "--map-root-user"]
    with worker(belt, tmp_path, *apart) as container:
        jobs = begun(belt, until)
        with worker(belt, tmp_path):
            until(lambda: len(belt.store.workers().result()) == 2)
            container.kill()
            until(lambda: jobs[0].refresh().record.lease == 2)
    assert jobs[0].record.crashes == 1


@pytest.mark.parametrize("belt", ["sqlite"], indirect=True)
def test_a_stopped_worker_is_left_alone(belt: Conveyor, tmp_path: Path, until: Until) -> None:
    # The known-bad control is a rescue by age: a stopped worker has not died, and keeps its jobs
    # until its lease ends.
    with worker(belt, tmp_path) as process:
        jobs = begun(belt, until)
        process.send_signal(signal.SIGSTOP)
        with worker(belt, tmp_path):
            until(lambda: len(belt.store.workers().result()) == 2)
            _wait_for_a_beat(belt, until)
        assert jobs[0].refresh().record.lease == 1
        process.send_signal(signal.SIGCONT)


def _wait_for_a_beat(belt: Conveyor, until: Until) -> None:
    first = {each.id: each.beat_at for each in belt.store.workers().result()}
    until(
        lambda: any(each.beat_at > first.get(each.id, 0) for each in belt.store.workers().result())
    )


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
