"""Which process this is, so that others on the same machine can see that it died."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

from ..core.job import WorkerInfo


def worker_id(host: str | None = None) -> str:
    """Return a new name for a worker of this process: host, pid and something random."""
    return f"{host or socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


def introduce(
    name: str,
    *,
    now: float,
    slots: int = 0,
    queues: tuple[str, ...] = (),
    labels: tuple[str, ...] = (),
) -> WorkerInfo:
    """Describe a worker of this process, so that others can tell it from its heirs."""
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
    )


def boot_id() -> str:
    """Return what a pid is unique within: this boot of the kernel and this pid namespace.

    Two containers on one machine share a kernel and even a volume, but not their pids.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def same_boot(one: str, other: str) -> bool:
    """Whether two boot ids are of one run of one kernel, whatever their pid namespaces."""
    return bool(one) and one.partition("/")[0] == other.partition("/")[0]


def pid_started(pid: int) -> float:
    """Return when a process started, in clock ticks since boot; 0.0 when it is not there."""
    state = _stat(pid)
    return float(state[21]) if state else 0.0


def is_running(pid: int, started: float) -> bool:
    """Whether the process that had this pid and began then is still there; a zombie is not."""
    state = _stat(pid)
    return state is not None and state[2] not in "ZX" and float(state[21]) == started


def is_frozen(pid: int) -> bool:
    """Whether a process is stopped (SIGSTOP, a debugger)."""
    state = _stat(pid)
    return state is not None and state[2] in "Tt"


def is_dead(worker: WorkerInfo, here: str) -> bool:
    """Whether a worker's process is surely gone. Never guessed from its silence.

    `here` is this process's `boot_id()`; a worker from elsewhere is never called dead.
    """
    if not here or worker.boot_id != here:
        return False
    return not is_running(worker.pid, worker.pid_started)


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    head, _, tail = text.rpartition(")")
    # The name in parentheses may hold spaces; it stands for the first two fields.
    return [head, "", *tail.split()]
