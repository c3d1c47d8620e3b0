"""A guard: runs one program after another, ends what they start, and all when the worker ends."""

from __future__ import annotations

import os
import select
import signal
import socket
import time

from .processes import is_frozen
from .program import Program
from .wire import KILL, LENGTH, MOST_FDS, READ, RUN, TERM

CLOSED_ON_EXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
# Leases end at 0.75 of their length after the worker was frozen, at the earliest; see keeper.py.
FENCE = 0.7
# How often a guard looks whether its worker is frozen: in seconds, and as a part of the lease.
LOOK, LOOK_PART = 1.0, 0.04


class Worker:
    """The process that all this is for."""

    def __init__(self, pid: int, lease_for: float) -> None:
        self.pid = pid
        self.fence = FENCE * lease_for
        self.look = min(LOOK, LOOK_PART * lease_for)
        # A fork of the worker may hold its sockets open, so their end alone would not do.
        self.pidfd = -1
        try:
            self.pidfd = os.pidfd_open(pid)
        except (AttributeError, OSError):  # not Linux, an old one, or forbidden by a sandbox
            return


class Ears:
    """The descriptors a process waits on: the worker's socket, the worker's end, its children's."""

    def __init__(self, line: socket.socket, worker: Worker) -> None:
        self.line = line
        self.worker = worker.pidfd
        self._wake, wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._poll = select.poll()
        for fd in (line.fileno(), self.worker, self._wake):
            if fd >= 0:
                self.add(fd)

    def add(self, fd: int) -> None:
        """Listen to one more."""
        self._poll.register(fd, select.POLLIN)

    def drop(self, fd: int) -> None:
        """Listen to it no more."""
        self._poll.unregister(fd)

    def wait(self, seconds: float | None) -> list[int]:
        """Wait until there is something; return which of them has it, signals aside."""
        found = [fd for fd, _ in self._poll.poll(None if seconds is None else 1000 * seconds)]
        if self._wake in found:
            os.read(self._wake, READ)
        return [fd for fd in found if fd != self._wake]

    def close(self) -> None:
        """Listen to the worker no more."""
        for fd in (self.line.fileno(), self.worker):
            if fd >= 0:
                self.drop(fd)
        self.line.close()
        self.worker = -1


class Guard:
    """Serves one worker over one socket."""

    def __init__(self, line: socket.socket, worker: Worker) -> None:
        self._line = line
        self._worker = worker
        self._ears = Ears(line, worker)
        self._alone = False
        self._request = b""
        self._fds: list[int] = []
        self._program: Program | None = None
        self._seen_well = 0.0

    def serve(self) -> None:
        """Work until the worker has ended, or needs this guard no more, and nothing runs."""
        while not self._alone or self._program is not None:
            for fd in self._ears.wait(self._pause()):
                if self._program is not None and fd == self._program.launch:
                    self._tell_news(self._program)
                elif fd == self._ears.worker:
                    self._abandon()
                elif fd == self._line.fileno():
                    self._hear()
            if self._program is not None:
                self._look_after(self._program)

    def _pause(self) -> float | None:
        return None if self._program is None else self._program.round or self._worker.look

    def _hear(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._line, READ, MOST_FDS, CLOSED_ON_EXEC)
        except OSError:
            data, fds = b"", []
        self._fds += fds
        if not data:
            self._abandon()
        elif self._program is None:
            self._collect(data)
        else:
            self._obey(self._program, data)

    def _collect(self, data: bytes) -> None:
        # An order may have come too late for the program before; nobody waits for an answer.
        self._request = (self._request + data) if self._request else data.lstrip(TERM + KILL)
        start = len(RUN) + LENGTH
        end = start + int.from_bytes(self._request[len(RUN) : start], "big")
        if len(self._request) < max(start, end):
            return
        request, orders = self._request[start:end], self._request[end:]
        fds, self._request, self._fds = self._fds, b"", []
        self._seen_well = time.monotonic()
        self._program = Program(request, fds)
        self._ears.add(self._program.launch)
        self._obey(self._program, orders)

    def _obey(self, program: Program, orders: bytes) -> None:
        for order in orders:
            if order == TERM[0]:
                program.told_to_end = True
                found = program.signal(signal.SIGTERM)
            else:
                found = program.kill()
            self._say(" ".join(["signalled", *map(str, found)]))

    def _abandon(self) -> None:
        self._alone = True
        self._ears.close()
        if self._program is not None:
            self._program.kill()

    def _look_after(self, program: Program) -> None:
        code = program.reap()
        if code is not None:
            if program.launch >= 0:
                self._tell_news(program)
            if not program.failed:
                self._say(f"exited {code}")
            if not program.told_to_end and not program.over:
                program.kill()
        if program.over:
            self._say(f"empty {program.left_behind}")
            self._program = None
        elif program.round and code is None:
            program.kill()
        elif not program.round:
            self._look_at_worker(program)

    def _tell_news(self, program: Program) -> None:
        self._ears.drop(program.launch)
        self._say(program.news())

    def _look_at_worker(self, program: Program) -> None:
        # This clock stands still while the whole machine sleeps, and then all others sleep too.
        now = time.monotonic()
        if not is_frozen(self._worker.pid):
            self._seen_well = now
        elif now - self._seen_well >= self._worker.fence:
            self._say(f"frozen {now - self._seen_well:.1f}")
            program.kill()

    def _say(self, line: str) -> None:
        try:
            self._line.sendall(line.encode() + b"\n")
        except OSError:  # the worker has ended, which is noticed elsewhere
            return
