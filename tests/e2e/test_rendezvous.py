"""Capacity 0 across processes: an enqueue returns when a worker elsewhere has taken the job."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conveyor import Conveyor, QueueFullError, State

APP = """
from pathlib import Path
from conveyor import Conveyor, current_job

belt = Conveyor("jobs.db")
queue = belt.queue("meeting", capacity=0)


@queue.task(name="sign")
def sign(text: str) -> int:
    with Path("signed").open("a") as file:
        file.write(text + "\\n")
    return current_job().lease
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def worker(folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "conveyor", "worker", "app:belt", "-c", "1"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "worker" in process.stderr.readline()
        yield process
        process.terminate()
        assert process.wait(30) == 0


def opened(folder: Path) -> Conveyor:
    return Conveyor(folder / "jobs.db")


def sign(text: str, wait: float) -> str:
    """Return a program that enqueues in a process of its own."""
    return (
        "from app import sign; import sys\n"
        f"job = sign.using(wait={wait}).enqueue({text!r})\n"
        "print(job.id, job.refresh().state, flush=True)\n"
    )


def test_an_enqueue_returns_once_a_worker_in_another_process_has_taken_the_job(
    folder: Path, worker: subprocess.Popen[str]
) -> None:
    assert worker.poll() is None
    command = [sys.executable, "-c", sign("hello", 60)]
    ran = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=True
    )
    job_id, state = ran.stdout.split()
    assert state in ("running", "completed"), "it was enqueued before it was claimed"
    belt = opened(folder)
    assert belt.job(job_id).result(timeout=60) == 1
    belt.close()


def test_an_enqueue_that_no_worker_meets_is_withdrawn_and_leaves_no_job(folder: Path) -> None:
    belt = opened(folder)
    queue = belt.queue("meeting", capacity=0)

    @queue.task(name="sign")
    def sign_here(text: str) -> str:
        return text

    with pytest.raises(QueueFullError, match="meeting"):
        sign_here.using(wait=0.05).enqueue("anybody?")
    assert belt.jobs(queue="meeting", limit=10) == []
    # Nor does it come back to a worker that arrives later.
    assert belt.work(queues=["meeting"], timeout=10, keep=False) == 0
    belt.close()


def test_producers_in_several_processes_are_served_in_order_of_arrival(
    folder: Path,
) -> None:
    belt = opened(folder)
    belt.queue("meeting", capacity=0)

    def offers() -> int:
        return next((q.offers for q in belt.store.counts().result(10) if q.name == "meeting"), 0)

    started: list[subprocess.Popen[str]] = []
    for number in range(4):
        command = [sys.executable, "-c", sign(str(number), 60)]
        started.append(subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True))
        deadline = time.monotonic() + 60
        while offers() <= number:
            assert time.monotonic() < deadline
    command = [sys.executable, "-m", "conveyor", "worker", "app:belt", "-c", "1"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as process:
        for each in started:
            each.communicate(timeout=60)
            assert each.returncode == 0
        process.terminate()
        process.wait(30)
    assert (folder / "signed").read_text().split() == ["0", "1", "2", "3"]
    belt.close()


def test_a_cancelled_enqueue_in_a_coroutine_leaves_no_job(folder: Path) -> None:
    belt = opened(folder)
    queue = belt.queue("meeting", capacity=0)

    @queue.task(name="sign")
    async def sign_here(text: str) -> str:
        return text

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await sign_here.aenqueue("anybody?")

    asyncio.run(give_up())
    assert belt.work(queues=["meeting"], timeout=10, keep=False) == 0
    assert not belt.jobs(queue="meeting", states=list(State), limit=10)
    belt.close()
