"""Where a worker gets its guards from: it keeps idle ones, and a spawner that makes new ones."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

from ..core.command_policy import without_secrets

# How many guards are kept for the next program; making one costs a fork more.
KEPT = 8
# How long the spawner gets to end, and how often that is looked at.
LEAVE = 5.0
LOOK = 0.003
BOOT = "import sys; sys.path.append(sys.argv.pop(1)); from guard.spawner import main; main()"


class Guards:
    """The guards of one worker. The spawner starts when the first one is asked for.

    A guard that notices that this process has been frozen for most of `lease_for` kills what it
    guards: somebody else will soon take the jobs.
    """

    def __init__(self, *, lease_for: float = 60.0) -> None:
        self._lease_for = lease_for
        self._idle: list[socket.socket] = []
        self._line: socket.socket | None = None
        self._spawners: list[int] = []

    def take(self) -> socket.socket:
        """Return the socket of a guard that guards nothing yet."""
        if self._idle:
            return self._idle.pop()
        ours, its = socket.socketpair()
        with its:
            try:
                self._ask(its)
            except OSError:  # the spawner has ended: it was killed
                self.renew()
                try:
                    self._ask(its)
                except BaseException:
                    ours.close()
                    raise
        ours.settimeout(0)
        return ours

    def keep(self, line: socket.socket) -> None:
        """Take a guard back that guards nothing any more."""
        if len(self._idle) < KEPT and self._line is not None:
            self._idle.append(line)
        else:
            line.close()

    def renew(self) -> None:
        """Let go of the spawner and of idle guards; there will be new ones when needed."""
        while self._idle:
            self._idle.pop().close()
        if self._line is not None:
            self._line.close()
            self._line = None
        self._bury()

    async def close(self) -> None:
        """Let the spawner end once its guards have, and wait for that a while."""
        self.renew()
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE):
                while self._spawners:
                    await asyncio.sleep(LOOK)
                    self._bury()

    def _ask(self, its: socket.socket) -> None:
        if self._line is None:
            self._line = self._start()
        socket.send_fds(self._line, [b"\n"], [its.fileno()])

    def _start(self) -> socket.socket:
        ours, its = socket.socketpair()
        command = [sys.executable, "-I", "-S", "-c", BOOT, str(Path(__file__).parent)]
        command += [str(os.getpid()), str(self._lease_for)]
        with its:
            # It closes for itself what it does not need.
            actions = [(os.POSIX_SPAWN_DUP2, its.fileno(), 0)]
            try:
                env = without_secrets(os.environ)
                pid = os.posix_spawn(sys.executable, command, env, file_actions=actions)
            except OSError:
                ours.close()
                raise
            self._spawners.append(pid)
        ours.settimeout(0)
        return ours

    def _bury(self) -> None:
        # One that has still to wait for a guard is buried later.
        for pid in list(self._spawners):
            try:
                ended = os.waitpid(pid, os.WNOHANG)[0] == pid
            except ChildProcessError:  # somebody else in this process buries everybody
                ended = True
            if ended:
                self._spawners.remove(pid)
