"""Makes PID 1 an init process, and continues in a child of it.

The kernel drops signals for which PID 1 has no handler, and makes every orphan its child, which it
must reap. A worker cannot reap with `waitpid(-1)`, because that would steal the exit codes of the
processes that its jobs have started and wait for. So the worker runs in a child of the init.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import Never

# How long the sidecar of a killed worker may take to return its jobs, in seconds.
ORPHAN_SECONDS = 3.0
POLL = 0.02
# The signals that people, container runtimes and terminals send. SIGKILL and SIGSTOP cannot be
# forwarded, and the signals of faults concern only the process that gets them.
FORWARDED = frozenset(
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


def fork_below_init() -> None:
    """If this process is PID 1, make it an init and return in a child; otherwise just return.

    Call it before there are threads. A signal that came earlier is delivered to the child. If that
    has no handlers yet, it ends, and the container exits with 128 plus the signal's number.
    """
    if os.getpid() != 1:
        return
    # SIGTTOU would stop a process that takes the terminal from the background.
    blocked = FORWARDED | {signal.SIGCHLD, signal.SIGTTOU}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    child = os.fork()
    if child:
        _run_init(child)
    _take_terminal()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def exit_code(status: int) -> int:
    """Return the exit code that a shell would give for this wait status."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _take_terminal() -> None:
    # A process group of its own in the foreground, so that Ctrl-C reaches only the child. Otherwise
    # the init would forward it a second time, which means "now". A new session would have no
    # terminal.
    first = os.getpgrp()
    os.setpgid(0, 0)
    with suppress(OSError):  # there is no terminal
        if os.tcgetpgrp(0) == first:
            os.tcsetpgrp(0, os.getpgrp())


def _run_init(child: int) -> Never:
    while True:
        number = signal.sigwait(FORWARDED | {signal.SIGCHLD})
        if number != signal.SIGCHLD:
            with suppress(ProcessLookupError):  # it has ended; its SIGCHLD follows
                os.kill(child, number)
            continue
        status = _reap(child)
        if status is not None:
            if os.WIFSIGNALED(status):
                _wait_for_orphans()
            # The kernel kills what is left of a PID namespace when its PID 1 ends.
            os._exit(exit_code(status))


def _wait_for_orphans() -> None:
    """Wait for the sidecar of a killed worker, which returns the worker's jobs."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    with suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(POLL)


def _reap(child: int) -> int | None:
    """Reap all processes that have ended; return the status of the child if it is one of them.

    Several exits may be one signal, and a stopped process sends one without having ended.
    """
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            return status
        if pid == 0:
            return None
