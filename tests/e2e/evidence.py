"""What jobs recorded about themselves, and which processes are left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tree import MARK

from conveyor.system.process_identity import pid_started
from proc import with_environment
from state_changes import Change

# The database's clock leaves out what is below a millisecond.
CLOCK = 0.001


class Line(NamedTuple):
    """Something a job wrote: see tree.py."""

    at: float
    word: str
    job: str
    lease: int
    pid: int
    born: float
    worker: str

    @property
    def alive(self) -> bool:
        """Whether the process that wrote it still runs."""
        return is_alive(self.pid, self.born)


class Lines:
    """The file that the jobs of a folder write into, read again and again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self.all: list[Line] = []
        self.of: dict[str, list[Line]] = defaultdict(list)
        self._words: set[tuple[str, str, int]] = set()

    def look(self) -> list[Line]:
        """Read on; return what is new."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._read)
            # What is written at the same time may not be seen whole.
            data = file.read().rpartition(b"\n")[0]
        self._read += len(data) + 1 if data else 0
        new = [_line(each.decode()) for each in data.splitlines()]
        self.all += new
        for line in new:
            self.of[line.job].append(line)
            self._words.add((line.word, line.job, line.lease))
        return new

    def has(self, word: str, jobs: Iterable[str], lease: int = 1) -> bool:
        """Whether each of these jobs has written a word under a lease."""
        self.look()
        return all((word, job, lease) in self._words for job in jobs)


def _line(text: str) -> Line:
    at, word, job, lease, pid, born, worker = text.split()
    return Line(float(at), word, job, int(lease), int(pid), float(born), worker)


def is_alive(pid: int, born: float) -> bool:
    """Whether that process runs; neither a zombie nor another one with its pid does."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX" and pid_started(pid) == born


def started_by(worker: str) -> list[int]:
    """Return the processes that a worker started, and those they did, by its name in their
    environment.
    """
    return with_environment(f"{MARK}={worker}")


def run_on(lines: Lines, ended: dict[str, Change]) -> list[str]:
    """Say which jobs wrote that they run after the database had said that they do not."""
    return [
        f"{job} ran on for {late[-1].at - change.at:.3f} s after it was {change.state}"
        for job, change in ended.items()
        if (late := [line for line in lines.of[job] if _is_late(line, change)])
    ]


def _is_late(line: Line, change: Change) -> bool:
    return line.lease <= change.lease and line.at > change.at + CLOCK
