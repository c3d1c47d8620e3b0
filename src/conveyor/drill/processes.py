"""What is seen of processes from outside: which ones there are, and whether their code can run."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import msgspec

from ..system.process_identity import pid_started


class Program(msgspec.Struct, frozen=True):
    """A program in a process. Another one may come to run there: by a new process, or by exec."""

    pid: int
    started: float
    called: bytes


def program(pid: int) -> Program:
    """Return what runs in a process now."""
    return Program(pid, pid_started(pid), _called(pid))


def lives(known: Program) -> bool:
    """Whether this program has not ended."""
    return _state(known.pid) not in "ZX" and program(known.pid) == known


def runs(known: Program) -> bool:
    """Whether it can run code now: it lives, and is not frozen."""
    return lives(known) and _state(known.pid) not in "Tt"


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
            called = _called(int(name)).replace(b"\0", b" ")
            found[int(name)] = called[:200].decode(errors="replace")
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


def _called(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
