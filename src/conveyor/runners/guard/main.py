"""The entry point of the process that guards a worker's programs."""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import socket
import sys

from .poller import WatchedWorker
from .processes import become_subreaper
from .spawner import Spawner

# What a terminal or an operator may send to a whole group, and what writing may raise. No more
# signals than these: each costs a program's start a microsecond.
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
    """Run the spawner. The arguments are the worker's pid and the length of its leases."""
    pid, lease_for = int(sys.argv[1]), float(sys.argv[2])
    os.closerange(3, 1 << 16)
    # Not os.dup(): if the worker has no stdout or stderr, it would return that number.
    requests = socket.socket(fileno=fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3))
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, *([] if _is_open(2) else [2])):
        os.dup2(null, fd)
    # Signals to the worker's group must not reach this process: it exits when the worker does.
    os.setsid()
    os.chdir("/")
    _reset_signals()
    become_subreaper()
    # Garbage collection would write to memory that the forks share.
    gc.disable()
    gc.freeze()
    worker = WatchedWorker(pid, lease_for)
    if os.getppid() == pid:
        Spawner(requests, worker).serve()


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _reset_signals() -> None:
    """Block signals and reset all to their defaults, so that a program only has to unblock them."""
    signal.pthread_sigmask(signal.SIG_SETMASK, BLOCKED)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
