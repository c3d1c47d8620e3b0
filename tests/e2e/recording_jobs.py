"""Jobs of every kind that record, again and again, that they run.

`conveyor worker recording_jobs:belt` runs them. All belong to their working directory: the store is
jobs.db there, and the records are in lines.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tree
from tree import PAUSE, Diary

from conveyor import Conveyor, current_job
from conveyor.client.job_handle import Job

KINDS = ("coroutine", "thread", "process", "command")
# These ignore SIGTERM.
DEAF = ("deaf process", "deaf command")
QUEUE = "drill"
LINES = "lines"
GRACE = 0.3
OURS = 100_000


@contextmanager
def diary() -> Iterator[Diary]:
    """Have what the current job writes end with `end`, unless something stops it."""
    job = current_job()
    opened = Diary(LINES, job.id, job.lease)
    try:
        opened.write("begin")
        yield opened
        opened.write("end")
    finally:
        opened.close()


async def coroutine(seconds: float, go: str = "") -> None:
    with diary() as mine:
        while mine.beats(seconds, go):  # noqa: ASYNC110 - it is to be seen, and waits for nothing
            await asyncio.sleep(PAUSE)


def thread(seconds: float, go: str = "") -> None:
    with diary() as mine:
        while mine.beats(seconds, go):
            current_job().sleep(PAUSE)


def process(seconds: float, go: str = "") -> None:
    with diary() as mine:
        while mine.beats(seconds, go):
            time.sleep(PAUSE)


def deaf_process(seconds: float, go: str = "") -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    process(seconds, go)


async def stubborn(seconds: float, go: str = "") -> None:
    with diary() as mine:
        while mine.beats(seconds, go):
            try:
                await asyncio.sleep(PAUSE)
            except asyncio.CancelledError:
                continue


def deaf_thread(seconds: float, go: str = "") -> None:
    process(seconds, go)


async def blocking(seconds: float, go: str = "") -> None:
    process(seconds, go)


async def nothing() -> None: ...


def declared(database: Path | str) -> Conveyor:
    """Return a belt that knows these jobs."""
    # What is measured here in seconds does not depend on fsync, which some disks do slowly.
    is_file = "://" not in str(database)
    made = Conveyor(f"{database}?durability=normal" if is_file else database)
    # Here workers die and stop on purpose, again and again, and no job is to blame.
    task = made.queue(QUEUE).task
    for function in (coroutine, stubborn, blocking, nothing, thread, deaf_thread):
        task(name=function.__name__.replace("_", " "), crash_limit=OURS)(function)
    for function in (process, deaf_process):
        name = function.__name__.replace("_", " ")
        task(name=name, run="process", crash_limit=OURS)(function)
    return made


def enqueue(on: Conveyor, kind: str, seconds: float, go: str = "", **options: Any) -> Job[Any]:
    """Enqueue a job of some kind that runs until `go` is there, and then for so long."""
    if not kind.endswith("command"):
        return on.functions[kind].using(**options).enqueue(seconds, go)
    manner = "deaf" if kind in DEAF else "listening"
    argv = [sys.executable, "-I", "-S", tree.__file__, LINES, str(seconds), go, manner]
    command = on.command(*argv, queue=QUEUE)
    return command.using(crash_limit=OURS, **options).enqueue()


belt = declared("jobs.db")
