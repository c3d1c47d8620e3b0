"""The drill's jobs: each kind records that it runs, and goes on until the drill lets it finish.

Events are lines in a file of the job's own, which the drill reads from outside. A job that runs for
a second time ends at once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from ..client.app import Conveyor
from ..client.job_handle import Job
from ..client.task_function import TaskFunction
from ..core.job_context import current_job
from ..errors import UnavailableError
from . import probe_command

Kind = Literal["coroutine", "thread", "deaf thread", "process", "command"]
KINDS: tuple[Kind, ...] = get_args(Kind)
QUEUE = "conveyor.drill"
FINISH, FAILS, RESULT = probe_command.FINISH, probe_command.FAILS, ".result"
# How often a job checks whether it may finish, in seconds.
POLL = 0.02
# How long a job waits, in seconds, after it has called for the end of the process.
EXIT_WAIT = 60.0
# The argument of each job that fills the disk: some hundreds of them are enough.
LARGE_ARGUMENT = "x" * 4000
MOST_LARGE_JOBS = 2000


class ProbeEvent(msgspec.Struct, frozen=True, array_like=True):
    """A line that a job wrote: what it did, in which process, under which lease, and when."""

    what: Literal["began", "ended"]
    pid: int
    lease: int
    at: float


class DiskFillResult(msgspec.Struct, frozen=True):
    """The outcome of filling the disk: the jobs that were accepted, and the last error."""

    accepted: tuple[str, ...]
    error: str


def read_events(path: Path) -> tuple[ProbeEvent, ...]:
    """Return the events of a job so far."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return ()
    return tuple(msgspec.convert(line.split(), ProbeEvent, strict=False) for line in lines)


class ProbeJobs:
    """The drill's tasks, registered on a belt: the drill's own or the one that a worker serves."""

    def __init__(self, belt: Conveyor) -> None:
        self._belt = belt
        queue = belt.queue(QUEUE)
        # The names begin with the name of this module, which applications cannot use.
        self._tasks: Mapping[str, TaskFunction[..., Any, Any]] = {
            "coroutine": queue.task(coroutine),
            "thread": queue.task(thread),
            "deaf thread": queue.task(deaf_thread),
            "process": queue.task(run="process")(process),
        }
        self._poison = queue.task(poison)
        self._exits: Mapping[str, TaskFunction[[], None, Any]] = {
            "task": queue.task(exit_in_a_task),
            "callback": queue.task(exit_in_a_callback),
            "thread": queue.task(exit_in_a_thread),
            "process": queue.task(run="process")(exit_in_a_process),
        }
        self._fill_disk = queue.task(_make_disk_filler(queue.task(occupy_disk)))

    def enqueue(self, kind: Kind, events: Path, **options: Any) -> Job[Any]:
        """Enqueue a job of a kind that writes its events to this file."""
        if kind == "command":
            argv = (sys.executable, "-I", "-S", probe_command.__file__, str(events))
            return self._belt.command(*argv, queue=QUEUE).using(**options).enqueue()
        return self._tasks[kind].using(**options).enqueue(str(events))

    def enqueue_poison(self) -> Job[None]:
        """Enqueue a job that kills its worker."""
        return self._poison.enqueue()

    def enqueue_exits(self) -> dict[str, Job[None]]:
        """Enqueue jobs that exit the process, each in another place, which is its key."""
        return {place: task.enqueue() for place, task in self._exits.items()}

    def enqueue_disk_filler(self, events: Path) -> Job[Any]:
        """Enqueue a job that enqueues others until the disk is full, and writes the result."""
        return self._fill_disk.enqueue(str(events))


async def coroutine(events: str) -> int:
    """Wait until it may finish, in a coroutine."""
    with _recorded(events) as is_rerun:
        while not is_rerun and not _may_finish(events):  # noqa: ASYNC110 - it is a file
            await asyncio.sleep(POLL)
    return current_job().lease


def thread(events: str) -> int:
    """Wait until it may finish, in blocking code that responds to a stop request."""
    with _recorded(events) as is_rerun:
        while not is_rerun and not _may_finish(events):
            current_job().sleep(POLL)
    return current_job().lease


def deaf_thread(events: str) -> int:
    """Wait until it may finish, in blocking code that ignores stop requests."""
    with _recorded(events) as is_rerun:
        while not is_rerun and not _may_finish(events):
            time.sleep(POLL)
    return current_job().lease


def process(events: str) -> int:
    """Wait until it may finish, in a child process, ignoring stop requests."""
    return deaf_thread(events)


async def poison() -> None:
    """Kill the worker, as a fault in a C library or the OOM killer does."""
    os.kill(os.getpid(), signal.SIGKILL)


async def exit_in_a_task() -> None:
    """Exit the process in a task that the job has started."""
    await asyncio.gather(_exit(), asyncio.sleep(EXIT_WAIT))


async def exit_in_a_callback() -> None:
    """Exit the process in a callback of the event loop."""
    asyncio.get_running_loop().call_soon(sys.exit)
    await asyncio.sleep(EXIT_WAIT)


def exit_in_a_thread() -> None:
    """Exit the process in a thread, where that ends only the thread."""
    sys.exit()


def exit_in_a_process() -> None:
    """Exit the child process at once."""
    os._exit(0)


async def _exit() -> None:
    sys.exit()


async def occupy_disk(text: str) -> int:
    """Occupy disk space with a large argument."""
    return len(text)


def _make_disk_filler(task: TaskFunction[[str], int, Any]) -> Callable[[str], Any]:
    async def fill_disk(events: str) -> None:
        accepted: list[str] = []
        error = "the disk did not fill up"
        with _recorded(events):
            while not _may_finish(events):  # noqa: ASYNC110 - it is a file
                await asyncio.sleep(POLL)
            for _ in range(MOST_LARGE_JOBS):
                try:
                    accepted.append((await task.aenqueue(LARGE_ARGUMENT)).id)
                except UnavailableError as refused:
                    error = str(refused)
                    break
            _write_result(events, DiskFillResult(tuple(accepted), error))

    return fill_disk


def _write_result(events: str, result: DiskFillResult) -> None:
    part = Path(events + ".part")
    part.write_bytes(msgspec.json.encode(result))
    part.rename(events + RESULT)


def _may_finish(events: str) -> bool:
    return os.path.exists(events + FINISH)


@contextmanager
def _recorded(events: str) -> Generator[bool]:
    """Record the beginning and the end; yield whether this is a second run. May fail on request."""
    job = current_job()
    if os.path.exists(events + FAILS):
        raise RuntimeError("the drill makes this attempt fail")
    probe_command.write_event(events, "began", job.lease)
    try:
        yield job.lease > 1
    finally:
        probe_command.write_event(events, "ended", job.lease)
