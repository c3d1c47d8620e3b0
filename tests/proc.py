"""Reads the environment of other processes, which is empty for a moment while they start."""

from __future__ import annotations

import os
from pathlib import Path
from time import monotonic, sleep


def environment(pid: int) -> list[str]:
    """Return a process's environment as NAME=VALUE; empty if it has none, or has ended.

    execve(2) makes the new program visible, and lets a parent in posix_spawn(3) or vfork(2) go on,
    before it has copied arguments and environment: until then both read as empty. A process that
    has only been forked shows those of its parent.
    """
    deadline = monotonic() + 60
    while _is_in_exec(pid):
        assert monotonic() < deadline, f"process {pid} did not finish its execve"
        sleep(0.001)
    return _read(pid, "environ").decode(errors="replace").split("\0")[:-1]


def with_environment(setting: str) -> list[int]:
    """Return the processes whose environment has exactly this NAME=VALUE."""
    return [pid for pid in processes() if setting in environment(pid)]


def processes() -> list[int]:
    """Return the pids of all processes."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _is_in_exec(pid: int) -> bool:
    # Zombies and kernel threads have no arguments either, but no executable.
    try:
        os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return False
    return not _read(pid, "cmdline")


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
