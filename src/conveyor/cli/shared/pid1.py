"""Makes a process that is PID 1 an init, and goes on in a child of it.

The kernel gives PID 1 two duties: a signal that it has no handler for is dropped, and every orphan
becomes its child, to be waited for. A worker cannot reap by `waitpid(-1)` itself, as that would
steal the exit codes of processes that jobs started and wait for; so it does its work in a child,
whose own children are its own affair.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import Never

# How long what a killed worker has left may take to put things in order, in seconds.
OTHERS = 3.0
LOOK = 0.02
# What people, runtimes and terminals send. KILL and STOP cannot be passed on, and the signals of
# faults are about the process that gets them.
PASSED_ON = frozenset(
    {
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGTSTP,
        signal.SIGCONT,
        signal.SIGWINCH,
    }
)


def stand_below_init() -> None:
    """Return in a child whose parent is the init, if this process is PID 1; else just return.

    Call it before there are threads. A signal that came first is delivered to the child: it ends
    one that has no handlers yet, and the container ends with 128 and the signal's number.
    """
    if os.getpid() != 1:
        return
    # SIGTTOU would stop a process that takes the terminal from the background.
    blocked = PASSED_ON | {signal.SIGCHLD, signal.SIGTTOU}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    child = os.fork()
    if child:
        _be_init(child)
    _take_terminal()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def exit_code(status: int) -> int:
    """Return what a shell would say of a process that ended with this wait status."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _take_terminal() -> None:
    # A group of its own, and the terminal with it: Ctrl-C is then for the child alone, where it
    # would otherwise come a second time from the init, and so mean "now". Not a session of its
    # own, which would have no terminal.
    first = os.getpgrp()
    os.setpgid(0, 0)
    with suppress(OSError):  # there is no terminal
        if os.tcgetpgrp(0) == first:
            os.tcsetpgrp(0, os.getpgrp())


def _be_init(child: int) -> Never:
    while True:
        number = signal.sigwait(PASSED_ON | {signal.SIGCHLD})
        if number != signal.SIGCHLD:
            with suppress(ProcessLookupError):  # it has ended; the next SIGCHLD says so
                os.kill(child, number)
            continue
        status = _reap(child)
        if status is not None:
            if os.WIFSIGNALED(status):
                _wait_for_the_others()
            # The kernel kills what is left of a PID namespace when its PID 1 ends.
            os._exit(exit_code(status))


def _wait_for_the_others() -> None:
    """Wait a moment for the keeper of a worker that was killed: it hands back that one's jobs."""
    deadline = time.monotonic() + OTHERS
    with suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(LOOK)


def _reap(child: int) -> int | None:
    """Reap all that have ended; return the child's status if it is among them.

    Several ends may make one signal. A process that was stopped makes one as well, and is no end.
    """
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            return status
        if pid == 0:
            return None
