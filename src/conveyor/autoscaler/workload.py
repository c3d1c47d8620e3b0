"""What came when: a trace of jobs, read from CSV."""

from __future__ import annotations

import csv
import datetime as dt
import math
from collections.abc import Iterable
from typing import NamedTuple

from ..core.duration import parse_duration
from ..errors import UsageError

# When it came, how long it runs, and which of the trace's label sets it requires.
Job = tuple[float, float, int]
COLUMNS = ("at", "duration", "labels")
EMPTY: list[str] = []


class Trace(NamedTuple):
    """Jobs in the order in which they come, and the label sets that they require."""

    jobs: list[Job]
    sets: tuple[frozenset[str], ...]


def read_trace(lines: Iterable[str], *, where: str = "the trace") -> Trace:
    """Read CSV with the columns at, duration and, if any, labels, in any order.

    `at` is seconds or an ISO 8601 time, `duration` seconds or a text like "5m", `labels` are those
    that the job requires, separated by spaces. UsageError names the line that is wrong.
    """
    rows = csv.reader(lines)
    at, took, labels = _columns(next(rows, EMPTY), where)
    numbers: dict[str, int] = {}
    jobs: list[Job] = []
    for row in rows:
        if not row:
            continue
        try:
            required = row[labels] if labels is not None and labels < len(row) else ""
            number = numbers.setdefault(required, len(numbers))
            jobs.append((_moment(row[at]), parse_duration(row[took]), number))
        except (ValueError, IndexError) as error:
            raise UsageError(
                f"{where}, line {rows.line_num}: {','.join(row)!r} is no job: {error}"
            ) from error
    if not jobs:
        raise UsageError(f"{where} has no jobs")
    jobs.sort()
    return Trace(jobs, tuple(frozenset(text.split()) for text in numbers))


def _columns(heading: list[str], where: str) -> tuple[int, int, int | None]:
    names = [name.strip().lower() for name in heading]
    missing = [name for name in COLUMNS[:2] if name not in names]
    if missing:
        raise UsageError(
            f"{where} has no column {missing[0]!r}: its first line has to name them, "
            f"like {','.join(COLUMNS)}"
        )
    found = names.index("labels") if "labels" in names else None
    return names.index("at"), names.index("duration"), found


def _moment(text: str) -> float:
    try:
        at = float(text)
    except ValueError:
        return dt.datetime.fromisoformat(text.strip()).timestamp()
    if not math.isfinite(at):
        raise ValueError("a time is wanted")
    return at
