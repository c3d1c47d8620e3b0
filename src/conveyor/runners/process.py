"""Runs blocking jobs in child processes, which can be stopped whatever the job does."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import deque
from contextlib import suppress
from multiprocessing import spawn
from typing import Any

from ..job import ErrorInfo, Stream
from ..lifecycle import Failed
from .control import Control, Ending, Stop, Stopped
from .ladder import members, stop_tree, sweep
from .messages import Done, Halt, Prepare, Run, Said, ToChild, Wrote, decode_for_worker, encode

READ = 1 << 16
# A child that has closed its pipe is about to end; this bounds the wait for that.
END = 5.0
# The child finds modules where the worker does, and tells its own children nothing of it.
BOOT = "import sys; sys.path[:] = sys.argv[2:]; from conveyor.runners.child import main; main()"
MAIN_KEYS = ("init_main_from_name", "init_main_from_path", "sys_argv", "orig_dir")


class ProcessRunner:
    """At most `size` spawned children, each used for many jobs.

    A child is replaced after `max_jobs` jobs, or once it has used more than `max_rss_mb` MiB.
    """

    def __init__(self, size: int, *, max_jobs: int = 1000, max_rss_mb: int = 512) -> None:
        self._size = asyncio.Semaphore(size)
        self._max_jobs = max_jobs
        self._max_rss = max_rss_mb * 1024
        self._idle: deque[_Child] = deque()
        self._children: set[_Child] = set()

    def prewarm(self) -> None:
        """Start a child before there is a job for it."""
        if not self._idle:
            self._idle.append(self._start())

    async def run(self, control: Control) -> Ending:
        """Run one blocking job in a child of its own for that time."""
        async with self._size:
            child = self._take()
            try:
                ending = await child.run(control)
            except BaseException:
                await self._drop(child)
                raise
            worn = child.jobs >= self._max_jobs or child.peak_rss > self._max_rss
            if child.ended or control.stopping or worn:
                await self._drop(child)
            else:
                self._idle.append(child)
            return ending

    async def close(self) -> None:
        """End all children."""
        for child in list(self._children):
            await self._drop(child)

    def _take(self) -> _Child:
        while self._idle:
            child = self._idle.popleft()
            if not child.ended:
                return child
            self._children.discard(child)
        return self._start()

    def _start(self) -> _Child:
        child = _Child()
        self._children.add(child)
        return child

    async def _drop(self, child: _Child) -> None:
        self._children.discard(child)
        await child.end()


class _Child:
    """One child process. Everything here happens in the event loop's thread, which lives on.

    That matters: the kernel kills a child when the thread that started it ends.
    """

    def __init__(self) -> None:
        self.jobs = 0
        self.peak_rss = 0
        self.ended = False
        self._loop = asyncio.get_running_loop()
        self._control: Control | None = None
        self._ending: asyncio.Future[Ending] | None = None
        self._stopping: asyncio.Task[tuple[str, ...]] | None = None
        self._line = bytearray()
        messages, theirs = os.pipe()
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-c", BOOT, str(theirs), *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(theirs,),
            start_new_session=True,
        )
        os.close(theirs)
        self._messages = messages
        self._streams: dict[int, Stream] = {}
        for pipe, stream in ((self._process.stdout, "stdout"), (self._process.stderr, "stderr")):
            if pipe is not None:
                self._streams[pipe.fileno()] = "stdout" if stream == "stdout" else "stderr"
        for fd in (messages, *self._streams):
            os.set_blocking(fd, False)
        self._loop.add_reader(messages, self._hear)
        for fd in self._streams:
            self._loop.add_reader(fd, self._read_output, fd)
        self._tell(Prepare(os.getpid()))

    async def run(self, control: Control) -> Ending:
        """Have the child run a job; the child is then ready for the next, or has ended."""
        self.jobs += 1
        self._control = control
        self._ending = self._loop.create_future()
        where = control.task.where
        main = _main_script() if where.startswith("__main__:") else {}
        self._tell(Run(control.job, where, main))
        control.on_stop(self._stop)
        try:
            ending = await self._ending
            if self._stopping is not None:
                notes = await self._stopping
                ending = Stopped(notes) if isinstance(ending, Stopped) else ending
        finally:
            self._control = None
            self._ending = None
        return ending

    async def end(self) -> None:
        """End the process with all it has started, and let go of its pipes."""
        tree = members(self._process.pid) if self._process.returncode is None else set()
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        sweep(self._process.pid, tree)
        self._let_go()

    def _let_go(self) -> None:
        self.ended = True
        for fd in (self._messages, *self._streams):
            self._loop.remove_reader(fd)
        if self._messages >= 0:
            os.close(self._messages)
            self._messages = -1
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        self._streams.clear()

    def _tell(self, message: ToChild) -> None:
        if self._process.stdin is not None:
            # A child that died is noticed by the end of its messages, not here.
            with suppress(OSError):
                self._process.stdin.write(encode(message) + b"\n")
                self._process.stdin.flush()

    def _stop(self, _request: Stop) -> None:
        if self._stopping is None and self._control is not None:
            self._tell(Halt())
            grace = self._control.job.options.grace
            self._stopping = asyncio.ensure_future(self._climb(grace))

    async def _climb(self, grace: float) -> tuple[str, ...]:
        """Stop the job. If its code ends by itself at SIGTERM, the child need not be killed."""
        stopping = asyncio.ensure_future(stop_tree(self._process.pid, grace))
        ending = self._ending
        waiting = [stopping] if ending is None else [stopping, asyncio.ensure_future(_done(ending))]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if stopping.done():
            return stopping.result()
        stopping.cancel()
        tree = members(self._process.pid)
        killed = sweep(self._process.pid, tree)
        left = (f"SIGKILL to {killed} it left behind",) if killed else ()
        return ("SIGTERM, at which it ended", *left)

    def _hear(self) -> None:
        try:
            data = os.read(self._messages, READ)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._messages)
            self._died()
            return
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._take(bytes(self._line + line))
            self._line.clear()
        self._line += rest

    def _take(self, line: bytes) -> None:
        control = self._control
        match decode_for_worker(line):
            case Said(progress) if control is not None:
                control.say(progress)
            case Wrote(stream, data) if control is not None:
                control.write(stream, data)
            case Done(ending, peak_rss):
                self.peak_rss = peak_rss
                # What the job printed was in the pipes before it said that it is done.
                self._drain()
                self._finish(ending)
            case Said() | Wrote():
                return

    def _finish(self, ending: Ending) -> None:
        if self._ending is not None and not self._ending.done():
            self._ending.set_result(ending)

    def _died(self) -> None:
        self.ended = True
        self._drain()
        try:
            code = self._process.wait(END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        stopped = self._control is not None and self._control.stopping
        self._finish(Stopped() if stopped else Failed(_how_it_died(code)))

    def _drain(self) -> None:
        for fd in list(self._streams):
            for _ in range(1 << 12):  # a grandchild may write for ever
                if not self._read_output(fd):
                    break

    def _read_output(self, fd: int) -> bool:
        try:
            data = os.read(fd, READ)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(fd)
            return False
        if self._control is not None:
            self._control.write(self._streams[fd], data)
        return True


async def _done(future: asyncio.Future[Any]) -> None:
    await asyncio.wait([future])


def _main_script() -> dict[str, Any]:
    """Return what a child needs to import the script that is `__main__` here."""
    data = spawn.get_preparation_data("conveyor")
    return {key: data[key] for key in MAIN_KEYS if key in data}


def _how_it_died(code: int) -> ErrorInfo:
    if code < 0:
        with suppress(ValueError):
            return ErrorInfo(
                "ProcessDied", f"its process was killed by {signal.Signals(-code).name}"
            )
    return ErrorInfo("ProcessDied", f"its process exited with {code} in the middle of the job")
