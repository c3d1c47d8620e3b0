"""Terminates a program and all that it started: SIGTERM, the grace, SIGKILL, until none is left."""

from __future__ import annotations

import asyncio
import signal
from math import inf
from typing import Protocol

from .job_control import JobControl, StopRequest

# How long after SIGKILL the kernel gets to remove the processes, in seconds.
KILL_TIMEOUT = 5.0


class ProcessTree(Protocol):
    """A program and all that it started. `gone` is done when no process of it is left."""

    gone: asyncio.Future[None]

    async def signal(self, number: signal.Signals) -> list[int]:
        """Send a signal to all processes and return their pids."""
        ...


class Termination:
    """Terminates the processes of one job and notes each step on the job."""

    def __init__(self, tree: ProcessTree, control: JobControl) -> None:
        self._loop = asyncio.get_running_loop()
        self._tree = tree
        self._control = control
        self._notes: list[str] = []
        self._kill_at = inf
        self._grace_timer: asyncio.TimerHandle | None = None
        self._grace_over: asyncio.Future[None] = self._loop.create_future()
        self._task: asyncio.Task[None] | None = None

    @property
    def started(self) -> bool:
        """Whether a stop was requested."""
        return self._task is not None

    def start(self, request: StopRequest) -> None:
        """Start to terminate. A later request can only shorten the grace."""
        own = self._control.job.options.grace
        grace = own if request.grace is None else request.grace
        kill_at = self._loop.time() + grace
        if kill_at < self._kill_at:
            self._kill_at = kill_at
            if self._grace_timer is not None:
                self._grace_timer.cancel()
            self._grace_timer = self._loop.call_at(kill_at, self._end_grace)
        if self._task is None:
            self._task = asyncio.ensure_future(self._terminate(at_once=grace <= 0))

    async def wait(self) -> tuple[str, ...]:
        """Wait until it has finished, if it was started; return its steps.

        Processes may be left only if the kernel does not remove them.
        """
        if self._task is not None:
            await self._task
        return tuple(self._notes)

    async def _terminate(self, *, at_once: bool) -> None:
        started = self._loop.time()
        gone = self._tree.gone
        if not at_once:
            pids = await self._tree.signal(signal.SIGTERM)
            if pids:  # none if the program has just ended by itself
                self._note(f"SIGTERM to {_count(len(pids))}")
            await asyncio.wait([gone, self._grace_over], return_when=asyncio.FIRST_COMPLETED)
        if self._grace_timer is not None:
            self._grace_timer.cancel()
        if gone.done():
            return
        pids = await self._tree.signal(signal.SIGKILL)
        when = "immediately" if at_once else f"after {self._loop.time() - started:.1f} s"
        self._note(f"SIGKILL to {_count(len(pids))} {when}")
        await asyncio.wait([gone], timeout=KILL_TIMEOUT)
        if not gone.done():
            pids = await self._tree.signal(signal.SIGKILL)
            self._note(f"still running {KILL_TIMEOUT:g} s after SIGKILL: {sorted(pids)}")

    def _end_grace(self) -> None:
        if not self._grace_over.done():
            self._grace_over.set_result(None)

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self._control.note(text)


def note_left_behind(killed: int, control: JobControl) -> None:
    """Note that a program that ended by itself left processes behind, which were killed."""
    if killed:
        control.note(f"killed {_count(killed)} that the command left behind")


def _count(processes: int) -> str:
    return "1 process" if processes == 1 else f"{processes} processes"
