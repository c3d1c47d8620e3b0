"""What the drill's jobs do: each kind notes down that it runs, and goes on until it is given a cue.

Notes are lines in a file of the job's own, which the drill reads from outside. A job that runs for
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
from . import tree

Kind = Literal["coroutine", "thread", "deaf thread", "process", "command"]
KINDS: tuple[Kind, ...] = get_args(Kind)
QUEUE = "conveyor.drill"
CUE, FAILS, HOARD = ".cue", tree.FAILS, ".hoard"
# How often a job looks for its cue.
LOOK = 0.02
# One job that is hoarded: a disk fills up by some hundreds of them.
HOARDED = "x" * 4000

What = Literal["began", "ended"]


class Note(msgspec.Struct, frozen=True, array_like=True):
    """A line that a job wrote: what it did in which process, under which lease, when."""

    what: What
    pid: int
    lease: int
    at: float


def read(notes: Path) -> tuple[Note, ...]:
    """Return what a job has noted so far."""
    try:
        lines = notes.read_text().splitlines()
    except FileNotFoundError:
        return ()
    return tuple(msgspec.convert(line.split(), Note, strict=False) for line in lines)


class Troupe:
    """The drill's jobs on a belt, be it the drill's own or the one that a worker serves."""

    def __init__(self, belt: Conveyor) -> None:
        self._belt = belt
        queue = belt.queue(QUEUE)
        # Named after this module, by a name that users cannot take: it is reserved.
        self._tasks: Mapping[str, TaskFunction[..., Any, Any]] = {
            "coroutine": queue.task(coroutine),
            "thread": queue.task(thread),
            "deaf thread": queue.task(deaf_thread),
            "process": queue.task(run="process")(process),
        }
        self._poison = queue.task(poison)
        self._keep = queue.task(keep)
        self._hoard = queue.task(_hoarder(self._keep))

    def enqueue(self, kind: Kind, notes: Path, **options: Any) -> Job[Any]:
        """Enqueue a job of a kind that writes these notes."""
        if kind == "command":
            argv = (sys.executable, "-I", "-S", tree.__file__, str(notes))
            return self._belt.command(*argv, queue=QUEUE).using(**options).enqueue()
        return self._tasks[kind].using(**options).enqueue(str(notes))

    def enqueue_poison(self) -> Job[None]:
        """Enqueue a job that kills its worker."""
        return self._poison.enqueue()

    def enqueue_hoarder(self, notes: Path) -> Job[Any]:
        """Enqueue a job that enqueues until there is no more room, and then says how it went."""
        return self._hoard.enqueue(str(notes))


class Hoard(msgspec.Struct, frozen=True):
    """What became of filling the disk: the jobs that were accepted, and the error in the end."""

    accepted: tuple[str, ...]
    error: str


async def coroutine(notes: str) -> int:
    """Wait for the cue as a coroutine does."""
    with _noted(notes) as again:
        while not again and not _has_cue(notes):  # noqa: ASYNC110 - the cue is a file
            await asyncio.sleep(LOOK)
    return current_job().lease


def thread(notes: str) -> int:
    """Wait for the cue as blocking code does that can be asked to stop."""
    with _noted(notes) as again:
        while not again and not _has_cue(notes):
            current_job().sleep(LOOK)
    return current_job().lease


def deaf_thread(notes: str) -> int:
    """Wait for the cue as blocking code does that knows nothing of being stopped."""
    with _noted(notes) as again:
        while not again and not _has_cue(notes):
            time.sleep(LOOK)
    return current_job().lease


def process(notes: str) -> int:
    """Wait for the cue in a process of its own, knowing nothing of being stopped."""
    return deaf_thread(notes)


async def poison() -> None:
    """Kill the worker, as a fault in a C library does, or memory that runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


async def keep(text: str) -> int:
    """Take some room on the disk until it has run."""
    return len(text)


def _hoarder(task: TaskFunction[[str], int, Any]) -> Callable[[str], Any]:
    async def hoard(notes: str) -> None:
        accepted: list[str] = []
        error = "there was room for everything"
        with _noted(notes):
            while not _has_cue(notes):  # noqa: ASYNC110 - as above
                await asyncio.sleep(LOOK)
            for _ in range(2000):
                try:
                    accepted.append((await task.aenqueue(HOARDED)).id)
                except UnavailableError as refused:
                    error = str(refused)
                    break
            _tell(notes, Hoard(tuple(accepted), error))

    return hoard


def _tell(notes: str, hoard: Hoard) -> None:
    part = Path(notes + ".part")
    part.write_bytes(msgspec.json.encode(hoard))
    part.rename(notes + HOARD)


def _has_cue(notes: str) -> bool:
    return os.path.exists(notes + CUE)


@contextmanager
def _noted(notes: str) -> Generator[bool]:
    """Note begin and end, and say whether this is a second run; fail where that is wanted."""
    job = current_job()
    if os.path.exists(notes + FAILS):
        raise RuntimeError("the drill wants this attempt to fail")
    tree.write(notes, "began", job.lease)
    try:
        yield job.lease > 1
    finally:
        tree.write(notes, "ended", job.lease)
