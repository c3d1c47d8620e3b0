"""Provides guards to a worker: keeps idle ones, and starts the spawner that forks new ones."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

from ..core.command_policy import without_secrets
from .machine_fault import MachineError

# How many idle guards are kept for the next programs; a new one costs one more fork.
MAX_IDLE = 8
# How long the spawner gets to exit, and how often that is checked, in seconds.
CLOSE_TIMEOUT, CLOSE_POLL = 5.0, 0.003
BOOT = "import sys; sys.path.append(sys.argv.pop(1)); from guard.main import main; main()"


class GuardPool:
    """The guards of one worker. The spawner starts when the first guard is needed.

    A guard kills its program when this process has been frozen for most of `lease_for` seconds:
    the lease will soon expire, and another worker will run the job.
    """

    def __init__(self, *, lease_for: float = 60.0) -> None:
        self._lease_for = lease_for
        self._idle: list[socket.socket] = []
        self._spawner: socket.socket | None = None
        self._pids: list[int] = []
        self._working_directory: str | None = None
        with suppress(OSError):
            self._working_directory = os.getcwd()

    def working_directory(self) -> str:
        """Return this process's directory, by its path; MachineError if it was deleted.

        If another directory has that path now, as after a new installation, it is that one.
        """
        try:
            self._working_directory = os.getcwd()
        except OSError as error:
            known = self._working_directory
            if known is None or not os.path.isdir(known):
                raise MachineError(
                    error.errno, f"the worker's working directory is gone: {known or 'unknown'}"
                ) from error
            return known
        return self._working_directory

    def acquire(self) -> socket.socket:
        """Return the socket of an idle guard; MachineError if none can be started."""
        if self._idle:
            return self._idle.pop()
        try:
            return self._start_guard()
        except OSError as error:
            raise MachineError(error.errno, f"no guard could be started: {error}") from error

    def release(self, guard: socket.socket) -> None:
        """Take back a guard that is idle again."""
        if len(self._idle) < MAX_IDLE and self._spawner is not None:
            self._idle.append(guard)
        else:
            guard.close()

    def reset(self) -> None:
        """Drop the spawner and the idle guards; new ones start when needed."""
        while self._idle:
            self._idle.pop().close()
        if self._spawner is not None:
            self._spawner.close()
            self._spawner = None
        self._reap()

    async def close(self) -> None:
        """Drop all guards and wait, for a limited time, until the spawner has exited."""
        self.reset()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                while self._pids:
                    await asyncio.sleep(CLOSE_POLL)
                    self._reap()

    def _start_guard(self) -> socket.socket:
        ours, its = socket.socketpair()
        with its:
            try:
                self._request_guard(its)
            except OSError:  # the spawner was killed
                self.reset()
                try:
                    self._request_guard(its)
                except BaseException:
                    ours.close()
                    raise
        ours.settimeout(0)
        return ours

    def _request_guard(self, its: socket.socket) -> None:
        if self._spawner is None:
            self._spawner = self._start_spawner()
        socket.send_fds(self._spawner, [b"\n"], [its.fileno()])

    def _start_spawner(self) -> socket.socket:
        ours, its = socket.socketpair()
        command = [sys.executable, "-I", "-S", "-c", BOOT, str(Path(__file__).parent)]
        command += [str(os.getpid()), str(self._lease_for)]
        with its:
            # The spawner closes all other descriptors itself.
            actions = [(os.POSIX_SPAWN_DUP2, its.fileno(), 0)]
            try:
                env = without_secrets(os.environ)
                pid = os.posix_spawn(sys.executable, command, env, file_actions=actions)
            except OSError:
                ours.close()
                raise
            self._pids.append(pid)
        ours.settimeout(0)
        return ours

    def _reap(self) -> None:
        # A spawner that waits for a guard is reaped later.
        for pid in list(self._pids):
            try:
                ended = os.waitpid(pid, os.WNOHANG)[0] == pid
            except ChildProcessError:  # other code in this process waits for all children
                ended = True
            if ended:
                self._pids.remove(pid)
