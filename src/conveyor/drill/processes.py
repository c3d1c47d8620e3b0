"""Inspects processes from outside: which ones exist, and whether their code can run."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import msgspec

from ..system.process_identity import pid_started


class ProcessSnapshot(msgspec.Struct, frozen=True):
    """A process and the program in it. A reused pid or an exec makes a different snapshot."""

    pid: int
    started: float
    command_line: bytes


def snapshot_process(pid: int) -> ProcessSnapshot:
    """Return what runs under a pid now."""
    return ProcessSnapshot(pid, pid_started(pid), _command_line(pid))


def is_alive(known: ProcessSnapshot) -> bool:
    """Whether this program has not ended."""
    return _state(known.pid) not in "ZX" and snapshot_process(known.pid) == known


def is_runnable(known: ProcessSnapshot) -> bool:
    """Whether this program can run code now: it is alive and not frozen."""
    return is_alive(known) and _state(known.pid) not in "Tt"


def find_marked_processes(mark: str) -> dict[int, str]:
    """Return the command lines, by pid, of live processes with `mark` in their environment.

    Children inherit the mark, even those that leave their session and process group.
    """
    found: dict[int, str] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with suppress(OSError):  # it has ended, or belongs to another user
            if mark.encode() not in Path(f"/proc/{name}/environ").read_bytes():
                continue
            command_line = _command_line(int(name)).replace(b"\0", b" ")
            found[int(name)] = command_line[:200].decode(errors="replace")
    return found


def kill_marked_processes(mark: str) -> None:
    """Kill every process with `mark` in its environment, and those they start meanwhile."""
    for _ in range(100):
        left = find_marked_processes(mark)
        if not left:
            return
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
