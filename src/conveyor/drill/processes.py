"""What is seen of processes from outside: which ones there are, and whether their code can run."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from ..identity import pid_started


def lives(pid: int, started: float) -> bool:
    """Whether the process that started then has not ended."""
    return _state(pid) not in "ZX" and pid_started(pid) == started


def runs(pid: int, started: float) -> bool:
    """Whether it can run code now: it lives, and is not frozen."""
    return lives(pid, started) and _state(pid) not in "Tt"


def marked(mark: str) -> dict[int, str]:
    """Return the living processes whose environment holds `mark`, and what they were called with.

    A child inherits it, however far it goes away from its parents.
    """
    found: dict[int, str] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with suppress(OSError):  # it has ended, or is somebody else's
            if mark.encode() not in Path(f"/proc/{name}/environ").read_bytes():
                continue
            called = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            found[int(name)] = b" ".join(called)[:200].decode(errors="replace")
    return found


def kill_marked(mark: str) -> None:
    """End every process whose environment holds `mark`, and those it starts meanwhile."""
    for _ in range(100):
        left = marked(mark)
        if not left:
            return
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"
