"""The spawner: forks guards for one worker, and kills what a guard has lost."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys

from .main import CLOSED_ON_EXEC, Ears, Guard, Worker
from .processes import children, send, subreap

# How soon it is looked again for what a guard has lost, in seconds.
AGAIN = 0.005
# What a terminal or an operator may send to everybody, and what writing may bring. No more than
# that, because each costs a program's start a microsecond.
BLOCKED = {
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGPIPE,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGXFSZ,
}


def main() -> None:
    """Serve as the command line says: the worker's pid, and how long its leases are."""
    pid, lease_for = int(sys.argv[1]), float(sys.argv[2])
    os.closerange(3, 1 << 16)
    line = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    # What reaches the worker's group is not for these: they end with the worker.
    os.setsid()
    os.chdir("/")
    _reset_signals()
    subreap()
    # Looking for garbage would write to memory that the forks share.
    gc.disable()
    gc.freeze()
    worker = Worker(pid, lease_for)
    if os.getppid() == pid:
        Spawner(line, worker).serve()


class Spawner:
    """Works until the worker has ended, or needs it no more, and all guards have ended."""

    def __init__(self, line: socket.socket, worker: Worker) -> None:
        self._line = line
        self._worker = worker
        self._ears = Ears(line, worker)
        self._alone = False
        self._guards: set[int] = set()

    def serve(self) -> None:
        """Fork a guard whenever one is asked for."""
        lost: list[int] = []
        while not self._alone or self._guards or lost:
            for fd in self._ears.wait(AGAIN if lost else None):
                if fd == self._ears.worker or not self._take():
                    self._alone = True
                    self._ears.close()
                    break
            lost = self._reap()
            for pid in lost:
                send(pid, signal.SIGKILL)

    def _take(self) -> bool:
        try:
            said, fds, _, _ = socket.recv_fds(self._line, 1, 1, CLOSED_ON_EXEC)
        except OSError:
            return False
        for fd in fds:
            try:
                self._guards.add(self._fork(fd))
            except OSError:  # no more processes: the worker hears that this one ends at once
                continue
            finally:
                os.close(fd)
        return bool(said)

    def _fork(self, fd: int) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                self._line.close()
                subreap()
                Guard(socket.socket(fileno=fd), self._worker).serve()
            except Exception as error:  # noqa: BLE001 - a fork must never go on as its parent
                sys.excepthook(type(error), error, error.__traceback__)
            finally:
                os._exit(0)
        return pid

    def _reap(self) -> list[int]:
        """Bury the dead; return who came to us because its guard was killed."""
        try:
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                self._guards.discard(pid)
        except ChildProcessError:
            self._guards.clear()
            return []
        return [pid for pid in children(os.getpid()) if pid not in self._guards]


def _reset_signals() -> None:
    """Block what may come, all at its default, so that a program has only to unblock it."""
    signal.pthread_sigmask(signal.SIG_SETMASK, BLOCKED)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
