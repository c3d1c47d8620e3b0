"""A trace of past jobs, read from CSV."""

from __future__ import annotations

import csv
import datetime as dt
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ..core.duration import parse_duration
from ..errors import UsageError

# Arrival, duration, and the index of its label set in the trace.
TraceJob = tuple[float, float, int]
COLUMNS = ("at", "duration", "labels")
NO_COLUMNS: list[str] = []


class Trace(NamedTuple):
    """Jobs in order of arrival, and the label sets that they require."""

    jobs: list[TraceJob]
    sets: tuple[frozenset[str], ...]


def read_trace(lines: Iterable[str], *, where: str = "the trace") -> Trace:
    """Read CSV with the columns at, duration and, optionally, labels, in any order.

    `at` is seconds or an ISO 8601 time, `duration` seconds or a string like "5m", `labels` are the
    required labels, separated by spaces. UsageError names the invalid line.
    """
    reader = csv.reader(lines)
    rows = _read_rows(reader, where)
    at, duration_column, labels = _column_numbers(next(rows, NO_COLUMNS), where)
    numbers: dict[str, int] = {}
    jobs: list[TraceJob] = []
    for row in rows:
        if not row:
            continue
        try:
            required = row[labels] if labels is not None and labels < len(row) else ""
            number = numbers.setdefault(required, len(numbers))
            jobs.append((_parse_time(row[at]), parse_duration(row[duration_column]), number))
        except (ValueError, IndexError) as error:
            raise UsageError(
                f"{where}, line {reader.line_num}: invalid job {','.join(row)!r}: {error}"
            ) from error
    if not jobs:
        raise UsageError(f"{where} has no jobs")
    jobs.sort()
    return Trace(jobs, tuple(frozenset(text.split()) for text in numbers))


def _read_rows(reader: Any, where: str) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:  # a field is too long, for instance
        raise UsageError(f"{where}, line {reader.line_num}: {error}") from error


def _column_numbers(heading: list[str], where: str) -> tuple[int, int, int | None]:
    names = [name.strip().lower() for name in heading]
    missing = [name for name in COLUMNS[:2] if name not in names]
    if missing:
        raise UsageError(
            f"{where} has no column {missing[0]!r}; its first line must name the columns, "
            f"like {','.join(COLUMNS)}"
        )
    found = names.index("labels") if "labels" in names else None
    return names.index("at"), names.index("duration"), found


def _parse_time(text: str) -> float:
    try:
        at = float(text)
    except ValueError:
        return dt.datetime.fromisoformat(text.strip()).timestamp()
    if not math.isfinite(at):
        raise ValueError("at must be finite")
    return at
