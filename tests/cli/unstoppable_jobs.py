"""An application whose jobs do not stop on request, and its workers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shell import Start, Until, read_line

from conveyor import Conveyor
from conveyor.client.job_handle import Job

# The grace period of jobs for which it does not matter, in seconds: the default is long.
BRIEF = 0.1

APP = """
import asyncio, os, time

from conveyor import Conveyor, current_job

belt = Conveyor("jobs.db")


def begin() -> None:
    print("begun", flush=True)


@belt.task(name="deaf")
def deaf(seconds: float) -> None:
    begin()
    time.sleep(seconds)


@belt.task(name="blocks the loop")
async def blocks(seconds: float) -> None:
    os.close(os.open(f"begun-{current_job().id}", os.O_CREAT))
    time.sleep(seconds)


@belt.task(name="stubborn")
async def stubborn(seconds: float) -> None:
    begin()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            continue


@belt.task(name="tracks")
def tracks() -> None:
    for _ in current_job().track(range(100_000)):
        begin()
        time.sleep(0.01)


@belt.task(name="quick")
async def quick() -> int:
    return 1


@belt.task(name="in a thread")
async def in_a_thread(seconds: float) -> None:
    begin()
    await asyncio.to_thread(time.sleep, seconds)
"""


def open_belt(folder: Path) -> Iterator[Conveyor]:
    """Write the application, and open a belt on its store: only the workers have the jobs' code."""
    (folder / "stops.py").write_text(APP)
    opened = Conveyor("jobs.db")
    for name in ("deaf", "blocks the loop", "stubborn", "in a thread"):
        opened.task(name=name)(_takes_seconds)
    for name in ("tracks", "quick"):
        opened.task(name=name)(_takes_nothing)
    yield opened
    opened.close()


def serve(start: Start, *options: str) -> subprocess.Popen[str]:
    """Start a worker of the application, and return once it has said that it works."""
    worker = start("worker", "stops:belt", "-c", "4", "--drain", "0.2", *options)
    read_line(worker, "worker ")
    return worker


def begin(belt: Conveyor, name: str, until: Until, **options: Any) -> Job[None]:
    """Enqueue a job that takes a minute, and return once its code runs."""
    job: Job[None] = belt.functions[name].using(**options).enqueue(60.0)
    until(lambda: job.logs() or Path(f"begun-{job.id}").exists())
    return job


def _takes_seconds(seconds: float) -> None: ...


def _takes_nothing() -> None: ...
