"""Runs blocking jobs in child processes, which can be stopped whatever the job does."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import ExitStack
from multiprocessing import spawn
from typing import Any

from ..core.job import ErrorInfo, Stream
from ..core.lifecycle import Failed
from ..errors import UsageError
from .child_protocol import (
    HALT,
    MADE,
    UNMADE,
    Answer,
    Answers,
    Begun,
    Done,
    Kept,
    Needs,
    Orders,
    Run,
    Said,
    Wrote,
    encode,
)
from .command import signal_name
from .guard_pool import Guards
from .guarded_process import DRAIN, Spawned
from .job_control import Control, Ending, Stop, Stopped
from .termination import KILL, Ladder

# The child finds modules where the worker does, and tells its own children nothing of it.
BOOT = "import sys; sys.path[:] = sys.argv[2:]; from conveyor.runners.child import main; main()"
MAIN_KEYS = ("init_main_from_name", "init_main_from_path", "sys_argv", "orig_dir")


class ProcessRunner:
    """At most `size` spawned children, each used for many jobs.

    A child is replaced after `max_jobs` jobs, or once it uses more than `max_rss_mb` MiB. `guards`
    are closed by whoever gives them.
    """

    def __init__(
        self,
        size: int,
        *,
        max_jobs: int = 1000,
        max_rss_mb: int = 512,
        guards: Guards | None = None,
    ) -> None:
        self._guards = guards or Guards()
        self._own = guards is None
        self._size = asyncio.Semaphore(size)
        self._max_jobs = max_jobs
        self._max_rss = max_rss_mb << 20
        self._idle: list[_Child] = []
        self._children: set[_Child] = set()

    def prewarm(self) -> None:
        """Start a child before there is a job for it."""
        if not self._idle:
            self._idle.append(self._start())

    async def run(self, control: Control) -> Ending:
        """Run one blocking job in a child of its own for that time."""
        async with self._size:
            if control.stopping:
                return Stopped()
            child = await self._take()
            try:
                ending = await child.run(control)
            except BaseException:
                await self._drop(child)
                raise
            worn = child.jobs >= self._max_jobs or child.rss > self._max_rss
            if child.broken or control.stopping or worn:
                await self._drop(child)
            else:
                self._idle.append(child)
            return ending

    async def close(self) -> None:
        """End all children."""
        await asyncio.gather(*map(self._drop, list(self._children)))
        if self._own:
            await self._guards.close()

    async def _take(self) -> _Child:
        while self._idle:
            child = self._idle.pop()
            if not child.broken:
                return child
            await self._drop(child)
        return self._start()

    def _start(self) -> _Child:
        child = _Child(self._guards)
        self._children.add(child)
        return child

    async def _drop(self, child: _Child) -> None:
        self._children.discard(child)
        await child.close()


class _Child:
    """One child process, as the worker sees it."""

    def __init__(self, guards: Guards) -> None:
        self.jobs = 0
        self.rss = 0
        self.broken = False
        self._control: Control | None = None
        self._ending: asyncio.Future[Ending] | None = None
        self._ladder: Ladder | None = None
        (stdin, runs), (halted, halts), (answers, answering) = _pipes(3)
        level = str(logging.getLogger().level)
        try:
            self._spawned = Spawned(
                guards,
                [sys.executable, "-c", BOOT, level, *sys.path],
                self._hear,
                stdin=stdin,
                more=(answering, halted),
            )
        except BaseException:
            for end in (runs, halts, answers):
                os.close(end)
            raise
        self._runs, self._halts = Orders(runs), Orders(halts)
        self._answers = Answers(answers, self._take)
        self._spawned.exited.add_done_callback(self._died)

    async def run(self, control: Control) -> Ending:
        """Have the child run a job; it is then ready for the next, or broken."""
        self.jobs += 1
        self._control = control
        self._ending = asyncio.get_running_loop().create_future()
        where = control.task.where
        main = _main_script() if where.startswith("__main__:") else {}
        folder, made = _folder(control)
        self._runs.send(encode(Run(control.job, where, main, folder, made)) + b"\n")
        self._ladder = Ladder(self._spawned, control)
        control.on_stop(self._stop)
        try:
            ending = await self._ending
            notes = await self._ladder.end()
            if self.broken:
                await asyncio.wait([self._spawned.gone], timeout=KILL)
        finally:
            self._control = None
            self._ending = None
        return Stopped(notes) if isinstance(ending, Stopped) else ending

    async def close(self) -> None:
        """End the process, if it still runs, and all it has left; let go of its pipes."""
        self.broken = True
        self._spawned.exited.remove_done_callback(self._died)
        self._runs.close()
        self._halts.close()
        self._answers.close()
        await self._spawned.close()

    def _hear(self, stream: Stream, data: bytes) -> None:
        # What comes between two jobs was written by something the last one has left behind.
        if self._control is not None:
            self._control.write(stream, data)

    def _take(self, answer: Answer | None) -> None:
        control = self._control
        match answer:
            case None:
                self.broken = True  # only by writing into descriptors that are not its own
                self._finish(Failed(ErrorInfo("ProcessDied", "its process spoke nonsense")))
            case Begun() if control is not None:
                control.begin()
            case Said(progress) if control is not None:
                control.say(progress)
            case Wrote(stream, data) if control is not None:
                control.write(stream, data)
            case Kept(name, path) if control is not None:
                control.keep(name, path)
            case Needs() if control is not None:
                self._halts.send(MADE if _make_folder(control) else UNMADE)
            case Done(ending, rss):
                self.rss = rss
                # What the job printed was in the pipes before it said that it is done.
                self._spawned.drain()
                self._finish(ending)
            case Begun() | Said() | Wrote() | Kept() | Needs():
                return

    def _stop(self, request: Stop) -> None:
        if self._ladder is not None and self._ending is not None:
            if not self._ladder.begun:
                self._halts.send(HALT)
            self._ladder.stop(request)

    def _died(self, exited: asyncio.Future[int | None]) -> None:
        self.broken = True
        for _ in range(DRAIN):
            if not self._answers.read():
                break
        self._spawned.drain()
        if self._spawned.trouble is not None:
            self._finish(self._spawned.trouble)
        elif self._control is not None and self._control.stopping:
            self._finish(Stopped())
        elif self._control is not None:
            self._finish(Failed(_how_it_died(exited.result())))

    def _finish(self, ending: Ending) -> None:
        if self._ending is not None and not self._ending.done():
            self._ending.set_result(ending)


def _pipes(count: int) -> list[tuple[int, int]]:
    with ExitStack() as made:
        pipes: list[tuple[int, int]] = []
        for _ in range(count):
            pipes.append(os.pipe())
            for end in pipes[-1]:
                made.callback(os.close, end)
        made.pop_all()  # all are there: they are the caller's now
    return pipes


def _folder(control: Control) -> tuple[str, bool]:
    """Return where the job's folder is, or would be, and whether it is there."""
    try:
        return ("", False) if control.place is None else (control.place.path, control.place.made)
    except OSError:  # there is no place for temporary files
        return "", False


def _make_folder(control: Control) -> bool:
    try:
        control.folder()
    except (OSError, UsageError) as error:
        control.write("mark", f"[its folder cannot be made: {error}]\n".encode())
        return False
    return True


def _main_script() -> dict[str, Any]:
    """Return what a child needs to import the script that is `__main__` here."""
    data = spawn.get_preparation_data("conveyor")
    return {key: data[key] for key in MAIN_KEYS if key in data}


def _how_it_died(code: int | None) -> ErrorInfo:
    if code is None:
        how = "could not be started"
    elif code >= 0:
        how = f"exited with {code} in the middle of the job"
    elif -code == signal.SIGKILL:
        how = "was killed by SIGKILL, which is also what the kernel does when memory runs out"
    else:
        how = f"was killed by {signal_name(-code)}"
    return ErrorInfo("ProcessDied", f"its process {how}")
