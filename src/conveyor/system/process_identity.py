"""Identifies a process, so that other processes of the machine can tell that it died."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

from ..core.job import WorkerInfo


def worker_id(host: str | None = None) -> str:
    """Return a new id for a worker of this process: host, pid and a random suffix."""
    return f"{host or socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


def worker_info(
    name: str,
    *,
    now: float,
    slots: int = 0,
    queues: tuple[str, ...] = (),
    labels: tuple[str, ...] = (),
    release: str = "",
) -> WorkerInfo:
    """Describe a worker of this process by what no other process shares."""
    return WorkerInfo(
        id=name,
        host=socket.gethostname(),
        boot_id=boot_id(),
        pid=os.getpid(),
        pid_started=pid_started(os.getpid()),
        started_at=now,
        slots=slots,
        queues=queues,
        labels=labels,
        release=release,
    )


def boot_id() -> str:
    """Return the scope within which a pid is unique: this boot and this pid namespace.

    Two containers of one machine share the kernel and perhaps a volume, but not their pids.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def same_boot(one: str, other: str) -> bool:
    """Whether two boot ids are from the same boot, in any pid namespace."""
    return bool(one) and one.partition("/")[0] == other.partition("/")[0]


def pid_started(pid: int) -> float:
    """Return when a process started, in clock ticks since boot; 0.0 if there is no such process."""
    state = _stat(pid)
    return float(state[21]) if state else 0.0


def is_running(pid: int, started: float) -> bool:
    """Whether the process with this pid and start time still runs; a zombie does not."""
    state = _stat(pid)
    return state is not None and state[2] not in "ZX" and float(state[21]) == started


def is_frozen(pid: int) -> bool:
    """Whether a process is stopped (SIGSTOP, a debugger)."""
    state = _stat(pid)
    return state is not None and state[2] in "Tt"


def is_dead(worker: WorkerInfo, here: str) -> bool:
    """Whether a worker's process has certainly exited. Silence is no proof.

    `here` is this process's `boot_id()`; a worker of another machine never counts as dead.
    """
    if not here or worker.boot_id != here:
        return False
    return not is_running(worker.pid, worker.pid_started)


def _stat(pid: int) -> list[str] | None:
    try:
        return stat_fields(Path(f"/proc/{pid}/stat").read_bytes())
    except OSError:
        return None


def stat_fields(stat: bytes) -> list[str]:
    """Return the fields of a process; see proc_pid_stat(5). Its name is left out.

    The name, in parentheses, is what the process has chosen: spaces, parentheses, any bytes.
    """
    _, _, tail = stat.rpartition(b")")
    return ["", "", *tail.decode().split()]
