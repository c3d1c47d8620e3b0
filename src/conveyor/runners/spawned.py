"""A process this worker has started, watched by the event loop: its output and its end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from ..job import Stream
from .ladder import kill_group

# As much as a pipe holds.
READ = 1 << 16
# A grandchild may write for ever into the pipe it was left, so draining has an end.
DRAIN = 16
REAP = 5.0


class Spawned:
    """A child process that leads a session of its own.

    Start it in the event loop's thread: the kernel may kill it when the thread that started it
    ends. `hear` is called with what it writes. `exited` is done when it has ended; it is then a
    zombie, whose number nobody else can get until `reap`.
    """

    def __init__(
        self,
        argv: Sequence[str],
        hear: Callable[[Stream, bytes], None],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: int = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._hear = hear
        self._process = subprocess.Popen(  # noqa: S603 - running what it is told to is its purpose
            argv,
            bufsize=0,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            cwd=cwd,
            pass_fds=pass_fds,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.exited: asyncio.Future[None] = self._loop.create_future()
        self._silent = asyncio.Event()
        self._streams: dict[int, Stream] = {}
        for pipe, stream in zip(self._pipes(), ("stdout", "stderr"), strict=True):
            self._streams[pipe] = "stdout" if stream == "stdout" else "stderr"
            os.set_blocking(pipe, False)
            self._loop.add_reader(pipe, self._read, pipe)
        self._pidfd = self._watch()

    def drain(self) -> None:
        """Hear what is in the pipes right now."""
        for pipe in list(self._streams):
            for _ in range(DRAIN):
                if not self._read(pipe):
                    break

    async def silence(self, seconds: float) -> None:
        """Wait until nobody can write any more, at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._silent.wait()

    def reap(self) -> int:
        """Kill what is left of its group, itself included; return the exit code or -signal."""
        if self._process.returncode is None:
            kill_group(self.pid)
        return self._process.wait(REAP)

    def close(self) -> None:
        """Let go of the pipes and of the process, which is killed if it still runs."""
        with suppress(subprocess.TimeoutExpired):
            self.reap()
        for pipe in list(self._streams):
            self._loop.remove_reader(pipe)
        self._streams.clear()
        for file in (self._process.stdout, self._process.stderr):
            if file is not None:
                file.close()
        self._forget_pidfd()

    def _pipes(self) -> list[int]:
        files = (self._process.stdout, self._process.stderr)
        return [file.fileno() for file in files if file is not None]

    def _read(self, pipe: int) -> bool:
        try:
            data = os.read(pipe, READ)
        except BlockingIOError:
            return False
        if data:
            self._hear(self._streams[pipe], data)
            return True
        self._loop.remove_reader(pipe)
        del self._streams[pipe]
        if not self._streams:
            self._silent.set()
        return False

    def _watch(self) -> int | None:
        try:
            pidfd = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # not Linux, an old one, or forbidden by a sandbox
            threading.Thread(target=self._wait, daemon=True).start()
            return None
        self._loop.add_reader(pidfd, self._exit)
        return pidfd

    def _wait(self) -> None:
        self._process.wait()
        with suppress(RuntimeError):  # the loop is gone, and with it whoever wanted to know
            self._loop.call_soon_threadsafe(self._exit)

    def _exit(self) -> None:
        self._forget_pidfd()
        if not self.exited.done():
            self.exited.set_result(None)

    def _forget_pidfd(self) -> None:
        pidfd, self._pidfd = self._pidfd, None
        if pidfd is not None:
            self._loop.remove_reader(pidfd)
            os.close(pidfd)
