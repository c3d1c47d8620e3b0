"""Stops a program with all it started: SIGTERM, grace, SIGKILL, until nothing of it runs."""

from __future__ import annotations

import asyncio
import signal
from math import inf
from typing import Protocol

from .job_control import Control, Stop

# How long after SIGKILL the kernel gets to take the processes away.
KILL = 5.0


class Guarded(Protocol):
    """A program and all it started. `gone` is done when nothing of that is left."""

    gone: asyncio.Future[None]

    async def signal(self, number: signal.Signals) -> list[int]:
        """Send a signal to all and return who that was."""
        ...


class Ladder:
    """The way down for one job. It tells the job's control about each step."""

    def __init__(self, program: Guarded, control: Control) -> None:
        self._loop = asyncio.get_running_loop()
        self._program = program
        self._control = control
        self._notes: list[str] = []
        self._kill_at = inf
        self._alarm: asyncio.TimerHandle | None = None
        self._patience: asyncio.Future[None] = self._loop.create_future()
        self._going: asyncio.Task[None] | None = None

    @property
    def begun(self) -> bool:
        """Whether a stop was asked for."""
        return self._going is not None

    def stop(self, request: Stop) -> None:
        """Begin; or, if it is under way, hurry: a later request can only shorten the grace."""
        own = self._control.job.options.grace
        grace = own if request.grace is None else request.grace
        kill_at = self._loop.time() + grace
        if kill_at < self._kill_at:
            self._kill_at = kill_at
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = self._loop.call_at(kill_at, self._lose_patience)
        if self._going is None:
            self._going = asyncio.ensure_future(self._go(at_once=grace <= 0))

    async def end(self) -> tuple[str, ...]:
        """Wait until nothing runs any more, or the kernel holds it; return what it took."""
        if self._going is not None:
            await self._going
        return tuple(self._notes)

    async def _go(self, *, at_once: bool) -> None:
        started = self._loop.time()
        gone = self._program.gone
        if not at_once:
            told = await self._program.signal(signal.SIGTERM)
            if told:  # it may have ended by itself just then, or because it listens
                self._note(f"SIGTERM to {_count(len(told))}")
            await asyncio.wait([gone, self._patience], return_when=asyncio.FIRST_COMPLETED)
        if self._alarm is not None:
            self._alarm.cancel()
        if gone.done():
            return
        killed = await self._program.signal(signal.SIGKILL)
        when = "at once" if at_once else f"after {self._loop.time() - started:.1f} s"
        self._note(f"SIGKILL to {_count(len(killed))} {when}")
        await asyncio.wait([gone], timeout=KILL)
        if not gone.done():
            held = await self._program.signal(signal.SIGKILL)
            self._note(f"held by the kernel in spite of SIGKILL: {sorted(held)}")

    def _lose_patience(self) -> None:
        if not self._patience.done():
            self._patience.set_result(None)

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self._control.note(text)


def note_left_behind(killed: int, control: Control) -> None:
    """Tell of those that a program had left behind when it ended by itself."""
    if killed:
        verb = "was" if killed == 1 else "were"
        control.note(f"{_count(killed)} it had left behind {verb} killed")


def _count(processes: int) -> str:
    return "1 process" if processes == 1 else f"{processes} processes"
