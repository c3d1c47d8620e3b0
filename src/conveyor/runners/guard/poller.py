"""Waits for the worker's messages, the worker's exit, and the exits of children."""

from __future__ import annotations

import os
import select
import signal
import socket

from .wire import READ_SIZE

CLOSE_ON_EXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
# When a guard kills its program because the worker is frozen, as a part of the lease. The sidecar
# lets a frozen worker's leases expire after 0.75 of their length at the earliest; see
# worker/sidecar_process.py.
KILL_AFTER = 0.7
# How often a guard checks whether its worker is frozen: in seconds, and as a part of the lease.
CHECK_EVERY, CHECK_EVERY_PART = 1.0, 0.04


class WatchedWorker:
    """The worker that this process belongs to."""

    def __init__(self, pid: int, lease_for: float) -> None:
        self.pid = pid
        self.kill_after = KILL_AFTER * lease_for
        self.check_every = min(CHECK_EVERY, CHECK_EVERY_PART * lease_for)
        # The end of its sockets does not prove its exit: a fork of the worker may hold them.
        self.pidfd = -1
        try:
            self.pidfd = os.pidfd_open(pid)
        except (AttributeError, OSError):  # not Linux, an old kernel, or forbidden by a sandbox
            return


class Poller:
    """Polls the worker's socket, the worker's pidfd, and a pipe that each SIGCHLD writes to."""

    def __init__(self, line: socket.socket, worker: WatchedWorker) -> None:
        self.line = line
        self.worker_fd = worker.pidfd
        self._signals, wakeup = os.pipe()
        os.set_blocking(self._signals, False)
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        self._poll = select.poll()
        for fd in (line.fileno(), self.worker_fd, self._signals):
            if fd >= 0:
                self.add(fd)

    def add(self, fd: int) -> None:
        """Poll another descriptor."""
        self._poll.register(fd, select.POLLIN)

    def remove(self, fd: int) -> None:
        """Stop polling a descriptor."""
        self._poll.unregister(fd)

    def wait(self, seconds: float | None) -> list[int]:
        """Wait for a descriptor or a signal; return the descriptors that are ready."""
        ready = [fd for fd, _ in self._poll.poll(None if seconds is None else 1000 * seconds)]
        if self._signals in ready:
            os.read(self._signals, READ_SIZE)
        return [fd for fd in ready if fd != self._signals]

    def close_worker(self) -> None:
        """Stop polling the worker, and close its socket."""
        for fd in (self.line.fileno(), self.worker_fd):
            if fd >= 0:
                self.remove(fd)
        self.line.close()
        self.worker_fd = -1
