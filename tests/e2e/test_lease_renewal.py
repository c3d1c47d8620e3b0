"""A lease is kept while its job runs, even if the job blocks the event loop or holds the GIL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conveyor import Conveyor, State

pytestmark = pytest.mark.alone

# Three times the lease. PyDLL keeps the GIL during the call, as a long regular expression would.
APP = """
import ctypes, os, time
from conveyor import Conveyor, current_job

belt = Conveyor("jobs.db")


@belt.task(name="blocks the loop")
async def blocks() -> int:
    time.sleep(3)
    return current_job().lease


@belt.task(name="holds the GIL")
def holds() -> int:
    ctypes.PyDLL(None).usleep(3_000_000)
    return current_job().lease


@belt.task(name="none")
async def none() -> None: ...


@belt.task(name="forks")
def forks() -> None:
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    print(pid, file=open("forked", "w"), flush=True)
    time.sleep(60)
"""
LEASE = "1s"


@pytest.mark.parametrize("name", ["blocks the loop", "holds the GIL"])
def test_a_worker_that_is_blocked_keeps_its_jobs(
    tmp_path: Path, until: Callable[..., None], name: str
) -> None:
    (tmp_path / "app.py").write_text(APP)
    belt = Conveyor(tmp_path / "jobs.db")
    command = [sys.executable, "-m", "conveyor", "worker", "app:belt", "--lease", LEASE, "-c", "1"]
    workers = [
        subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for worker in workers:
        assert worker.stderr is not None
        assert worker.stderr.readline().startswith("worker ")
    job_id = belt.task(name=name)(os.getpid).enqueue().id
    until(lambda: belt.job(job_id).refresh().record.is_final)
    record = belt.job(job_id).record
    assert (record.lease, record.result) == (1, b"1")
    for worker in workers:
        worker.terminate()
        worker.communicate(timeout=30)
    assert [worker.returncode for worker in workers] == [0, 0]
    belt.close()


def test_a_killed_worker_is_known_to_be_dead_even_if_a_fork_of_it_lives_on(
    tmp_path: Path, until: Callable[..., None]
) -> None:
    (tmp_path / "app.py").write_text(APP)
    belt = Conveyor(tmp_path / "jobs.db")
    job = belt.task(name="forks")(os.getpid).enqueue()
    command = [sys.executable, "-W", "ignore", "-m", "conveyor", "worker", "app:belt"]
    worker = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    forked = tmp_path / "forked"
    until(lambda: forked.exists() and forked.read_text().strip())
    worker.kill()
    worker.wait()
    try:
        # There is no other worker: it is the sidecar that saw it die, and says how.
        until(lambda: job.refresh().state is State.AVAILABLE)
        assert "SIGKILL" in job.history()[0].error.message
    finally:
        os.kill(int(forked.read_text()), signal.SIGKILL)
    belt.close()


def test_without_the_sidecar_the_same_job_is_rescued(
    tmp_path: Path, until: Callable[..., None]
) -> None:
    # The known-bad control: the same worker, told to do without the process that keeps its leases.
    (tmp_path / "app.py").write_text(
        APP + "\n\nif __name__ == '__main__':\n"
        "    belt.work(slots=1, lease_for=1.0, keep=False, until_idle=False, timeout=60)\n"
    )
    belt = Conveyor(tmp_path / "jobs.db")
    job_id = belt.task(name="blocks the loop")(os.getpid).enqueue().id
    command = [sys.executable, "app.py"]
    workers = [subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) for _ in range(2)]
    until(lambda: belt.job(job_id).refresh().record.lease > 1)
    for worker in workers:
        worker.kill()
        worker.wait()
    belt.close()
