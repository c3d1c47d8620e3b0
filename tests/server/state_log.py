"""Finds wrong endings among the changes of jobs' states, and processes that are left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from conveyor.core.job import FINAL
from conveyor.system.process_identity import pid_started
from state_changes import Change


def objections(made: Iterable[Change], jobs: Iterable[str]) -> list[str]:
    """Return complaints about jobs that did not end exactly once, and about unknown jobs."""
    ends = Counter(change.job for change in made if change.state in FINAL)
    wanted = set(jobs)
    return [
        *(f"{job} has ended {ends[job]} times" for job in sorted(wanted) if ends[job] != 1),
        *(f"{job} was never asked for" for job in sorted(ends.keys() - wanted)),
    ]


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX" and pid_started(pid) > 0
