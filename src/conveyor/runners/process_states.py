"""Lists the processes of a job, with their state, as ps(1) would show them."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..core.stack import MAX_PROCESSES, ProcessState
from .guard.processes import descendants

# How many processes of the machine are looked at.
MAX_LOOKED_AT = 100_000


def processes_below(root: int) -> list[ProcessState]:
    """Return a process and its descendants, those that still run."""
    return _states([root, *sorted(descendants(root))])


def processes_of_command(job_id: str) -> list[ProcessState]:
    """Return the processes with a job's id in their environment, and their descendants."""
    mark = f"CONVEYOR_JOB_ID={job_id}\0".encode()
    found: dict[int, None] = {}
    pids = sorted(int(name) for name in os.listdir("/proc")[:MAX_LOOKED_AT] if name.isdigit())
    for pid in pids:
        with suppress(OSError):  # it has ended, or belongs to another user
            if mark in Path(f"/proc/{pid}/environ").read_bytes() + b"\0":
                found.update(dict.fromkeys([pid, *sorted(descendants(pid))]))
    return _states(found)


def _states(pids: Iterable[int]) -> list[ProcessState]:
    states: list[ProcessState] = []
    for pid in pids:
        if len(states) > MAX_PROCESSES:
            break
        with suppress(OSError, ValueError, IndexError):  # it has ended
            states.append(_state(pid))
    return states


def _state(pid: int) -> ProcessState:
    stat = Path(f"/proc/{pid}/stat").read_bytes()
    name = stat[stat.index(b"(") + 1 : stat.rindex(b")")]
    # Field 3 of proc_pid_stat(5) is the state, field 4 the parent, field 24 the memory in pages.
    fields = stat[stat.rindex(b")") + 2 :].split()
    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").strip()
    return ProcessState(
        pid=pid,
        parent=int(fields[1]),
        command=(command or b"[" + name + b"]").decode(errors="replace"),
        state=fields[0].decode(),
        rss=int(fields[21]) * resource.getpagesize(),
    )
