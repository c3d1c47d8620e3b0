"""The signals that end a process by default, and how to die of one after handling it."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

# Those that people and programs send. Faults (SIGSEGV), limits (SIGXCPU) and timers (SIGALRM) are
# what a job may have caused, which would end worker after worker if it were not blamed. SIGKILL
# cannot be handled.
DEADLY = tuple(
    getattr(signal, name)
    for name in (
        "SIGQUIT",
        "SIGUSR1",
        "SIGUSR2",
        "SIGIO",
        "SIGPWR",
    )
    if hasattr(signal, name)
)
SIG_DFL = 0


def with_default_action(numbers: Sequence[signal.Signals]) -> tuple[signal.Signals, ...]:
    """Return the signals that nobody ignores and nobody handles, not even C code."""
    caught = _caught_mask()
    return tuple(
        number
        for number in numbers
        if signal.getsignal(number) is signal.SIG_DFL and not caught >> (number - 1) & 1
    )


def die_of(number: signal.Signals) -> None:
    """End this process by a signal, as if it were not handled. Any thread may call this."""
    # signal.signal() works in the main thread only, which may be blocked.
    ctypes.CDLL(None).signal(int(number), ctypes.c_void_p(SIG_DFL))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    signal.raise_signal(number)  # to this thread, at once
    os._exit(128 + number)


def _caught_mask() -> int:
    # faulthandler and C libraries install handlers that signal.getsignal() does not know.
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(errors="replace").splitlines():
            if line.startswith("SigCgt:"):
                return int(line.split()[1], 16)
    return 0
