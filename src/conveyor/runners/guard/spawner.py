"""The spawner: forks guards for one worker, and kills the processes of a guard that was killed."""

from __future__ import annotations

import os
import signal
import socket
import sys

from .guard import Guard
from .poller import CLOSE_ON_EXEC, Poller, WatchedWorker
from .processes import become_subreaper, children, send_signal

# The pause between two rounds of killing, in seconds.
KILL_INTERVAL = 0.005


class Spawner:
    """Serves until the worker has exited or closed the socket, and all guards have exited."""

    def __init__(self, line: socket.socket, worker: WatchedWorker) -> None:
        self._line = line
        self._worker = worker
        self._poller = Poller(line, worker)
        self._worker_exited = False
        self._guards: set[int] = set()

    def serve(self) -> None:
        """Fork a guard for each request."""
        orphans: list[int] = []
        while not self._worker_exited or self._guards or orphans:
            for fd in self._poller.wait(KILL_INTERVAL if orphans else None):
                if fd == self._poller.worker_fd or not self._receive():
                    self._worker_exited = True
                    self._poller.close_worker()
                    break
            orphans = self._reap()
            for pid in orphans:
                send_signal(pid, signal.SIGKILL)

    def _receive(self) -> bool:
        try:
            data, fds, _, _ = socket.recv_fds(self._line, 1, 1, CLOSE_ON_EXEC)
        except OSError:
            return False
        for fd in fds:
            try:
                self._guards.add(self._fork_guard(fd))
            except OSError:  # no more processes: closing the socket tells the worker
                continue
            finally:
                os.close(fd)
        return bool(data)

    def _fork_guard(self, fd: int) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                self._line.close()
                become_subreaper()
                Guard(socket.socket(fileno=fd), self._worker).serve()
            except Exception as error:  # noqa: BLE001 - a fork must never continue as its parent
                sys.excepthook(type(error), error, error.__traceback__)
            finally:
                os._exit(0)
        return pid

    def _reap(self) -> list[int]:
        """Reap children; return those that were inherited from a killed guard."""
        try:
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                self._guards.discard(pid)
        except ChildProcessError:
            self._guards.clear()
            return []
        return [pid for pid in children(os.getpid()) if pid not in self._guards]
