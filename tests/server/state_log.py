"""Records every change of a job's state by a trigger in the database, and finds wrong endings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from conveyor import State
from conveyor.core.job import FINAL
from conveyor.system.process_identity import pid_started
from other_process import sql

WATCH = """
CREATE TABLE change (id TEXT, state TEXT, lease INTEGER, at REAL);
CREATE TRIGGER changing AFTER UPDATE OF state ON job BEGIN
    INSERT INTO change VALUES (new.id, new.state, new.lease, unixepoch('subsec'));
END;
"""


class Change(NamedTuple):
    """A change of a job's state."""

    job: str
    state: State
    lease: int
    at: float


def watch(database: Path) -> None:
    """Record changes from now on."""
    sql(database, WATCH)


def changes(database: Path) -> list[Change]:
    """Return the changes in order."""
    rows = sql(database, "SELECT id, state, lease, at FROM change ORDER BY rowid")
    return [Change(job, State(state), lease, at) for job, state, lease, at in rows]


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
