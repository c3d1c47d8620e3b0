"""`conveyor worker` and `conveyor run`: start, work and stop."""

from __future__ import annotations

import fcntl
import signal
from pathlib import Path
from typing import Any

import pytest
from shell import Command, Start, Until, read_line, serve

from conveyor import Conveyor, State


@pytest.mark.parametrize("command", ["worker", "run"])
def test_a_worker_runs_jobs_until_sigterm_and_ends_with_0(
    start: Start, belt: Conveyor, command: str
) -> None:
    job = belt.functions["send"].enqueue("ann")
    worker = start(command, "app:belt", "--queue", "mail:4", "--queue", "small", "-c", "2")
    assert job.result(timeout=30) == "ann x1"
    worker.terminate()
    assert worker.wait(30) == 0
    _, err = worker.communicate()
    assert "SIGTERM: stopping" in err
    assert "no new jobs; 0 running jobs" in err
    assert "1 job ended, 0 returned to the queue" in err


def test_a_signal_that_comes_while_the_store_is_locked_is_not_lost(
    start: Start, belt: Conveyor, folder: Path
) -> None:
    belt.functions["send"].enqueue("ann")
    with open(folder / "jobs.db.lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        worker = start("worker", "app:belt")
        assert worker.stderr is not None
        # No word from it, as it waits for the lock; its handlers are there all the same.
        wanted = 1 << (signal.SIGTERM - 1)
        while not wanted & int(_status(worker.pid)["SigCgt"], 16):
            assert worker.poll() is None
        worker.terminate()
        assert worker.stderr.readline().startswith("SIGTERM: stopping")
    assert worker.wait(30) == 0


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_a_worker_releases_what_does_not_end_in_time(
    start: Start, belt: Conveyor, until: Until
) -> None:
    worker = serve(start, "--queue", "default", "--drain", "0.1")
    job = belt.command("sh", "-c", "echo begun; exec sleep 60").enqueue()
    until(job.logs)
    worker.terminate()
    assert worker.wait(60) == 75
    # A worker that has too little time, on a busy machine, leaves the report to its sidecar.
    until(lambda: job.refresh().state is not State.RUNNING)
    assert (job.state, job.record.attempt) == (State.AVAILABLE, 0)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "no application given"),
        (["app"], "module:name"),
        (["nothere:belt"], "no module 'nothere'"),
        (["app:mail"], "is a Queue, not a Conveyor"),
        (["broken:belt"], "cannot import application 'broken:belt': ZeroDivisionError"),
        (["app:belt", "--queue", "mail:often"], "NAME:WEIGHT"),
        (["app:belt", "--lease", "never"], "lease = 'never' from the command line"),
        (["app:belt", "--lease", "1ms"], "at least 1 s, so that a worker can renew it, got '1ms'"),
        (["app:belt", "--log-level", "LOUD"], "log_level 'LOUD'"),
        (["app:belt", "-c", "0"], "an integer of 1 or more"),
    ],
)
def test_a_worker_that_cannot_start_says_why_and_ends_with_2(
    conveyor: Command, folder: Path, args: list[str], said: str
) -> None:
    (folder / "broken.py").write_text("1 / 0\n")
    ran = conveyor("worker", *args)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_a_worker_serves_a_queue_whose_name_ends_like_a_weight(start: Start, folder: Path) -> None:
    app = folder / "app.py"
    app.write_text(app.read_text() + "\nbelt.queue('eu:1')\n")
    worker = start("worker", "app:belt", "-q", "eu:1", "-q", "mail:2")
    assert "queues eu:1, mail," in read_line(worker, "worker ")


FAILING = """
import asyncio, gc, sys, time
from conveyor import Conveyor

belt = Conveyor("jobs.db")

@belt.task
def deaf():
    print("begun", flush=True)
    time.sleep(60)

@belt.task
async def waits():
    print("begun")
    await asyncio.sleep(60)

def find_dispatcher():
    [found] = [each for each in gc.get_objects() if type(each).__name__ == "Dispatcher"]
    return found

@belt.task
async def breaks_a_loop_of_the_worker():
    find_dispatcher()._pace = None

@belt.task
async def breaks_the_table_of_the_worker():
    find_dispatcher()._held = None

@belt.task
async def cancels_the_worker():
    for task in asyncio.all_tasks():
        asyncio.Task.cancel(task)
"""


@pytest.mark.parametrize(
    "ending",
    ["breaks_a_loop_of_the_worker", "breaks_the_table_of_the_worker", "cancels_the_worker"],
)
def test_a_worker_that_fails_returns_its_jobs_at_once_and_exits_with_1(
    start: Start, folder: Path, until: Until, ending: str
) -> None:
    (folder / "failing.py").write_text(FAILING)
    with Conveyor(folder / "jobs.db") as belt:
        worker = start("worker", "failing:belt", "--queue", "default")
        tasks: dict[str, Any] = {
            name: belt.task(_nothing, name=f"failing.{name}") for name in ("deaf", "waits", ending)
        }
        jobs = [tasks["deaf"].enqueue(), tasks["waits"].enqueue()]
        until(lambda: all(job.logs() for job in jobs))
        tasks[ending].enqueue()
        assert worker.wait(30) == 1
        until(lambda: [job.refresh().state for job in jobs] == [State.AVAILABLE] * 2)
        assert [job.record.attempt for job in jobs] == [0, 0]
        until(lambda: belt.store.workers().result() == [])  # the sidecar removes it last


def _nothing() -> None: ...


def test_a_directory_is_no_health_file(conveyor: Command, folder: Path) -> None:
    ran = conveyor("worker", "app:belt", "--health-file", folder)
    assert (ran.code, f"health_file '{folder}' is a directory" in ran.err) == (2, True)
