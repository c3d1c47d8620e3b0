"""What happens in a queue, minute by minute: how many jobs, and how long they waited and ran.

A minute is a mapping from slots to counts. Slots are the counters below, and one for each bucket of
the two histograms. Stores keep it as a list of integers, `slot + 64 * count`; a slot that occurs
twice counts both times, so two lists are added by joining them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import frexp
from typing import Any, cast

import msgspec

from .job import AVAILABLE, RUNNING, JobRecord, State
from .record import Record

MINUTE = 60
# How long minutes are kept, in seconds, and how many of all queues at most: the newest.
MINUTES_KEPT, MOST_MINUTES = 7 * 86_400, 500_000

Counts = dict[int, int]

SLOTS = 64
ENQUEUED, STARTED, COMPLETED, RETRIED, RETURNED, DISCARDED, CANCELLED = range(7)
COUNTERS = (*("enqueued", "started", "completed", "retried", "returned", "discarded", "cancelled"),)
# The first slots of the histograms.
WAITS, RUNS = 16, 40
# The first bucket ends at 2**-8 s (4 ms), each other one at twice the end of the one before; the
# last one begins at 2**14 s (4.6 h).
BUCKETS, _SHORTEST = 24, 8
FIRST_END = 2.0**-_SHORTEST
_LAST = BUCKETS - 1

_ENDED_BY = {
    State.COMPLETED: COMPLETED,
    State.DISCARDED: DISCARDED,
    State.CANCELLED: CANCELLED,
}


def minute_of(at: float) -> int:
    """Return the number of the minute of a moment: Unix seconds / 60."""
    return int(at // MINUTE)


def bucket(seconds: float) -> int:
    """Return the bucket of a duration."""
    if seconds < FIRST_END:
        return 0
    return min(frexp(seconds)[1] + _SHORTEST, _LAST)


# -- what is counted -----------------------------------------------------------------------------


def count_started(counts: Counts, jobs: Sequence[JobRecord], now: float) -> None:
    """Count a claim of these jobs, as they were before.

    A job that comes back from a worker keeps its place, and so its `run_at`: since when it waits is
    not known, and it has no waiting time.
    """
    if not jobs:
        return
    add(counts, STARTED, len(jobs))
    waited = [job.run_at for job in jobs]
    if [job.started_at for job in jobs].count(None) < len(jobs):
        waited = [
            job.run_at for job in jobs if job.started_at is None or job.run_at > job.started_at
        ]
    for (run_at,), number in count_alike(waited).items():
        add(counts, WAITS + bucket(now - run_at), number)


def count_alike(*columns: Sequence[Any]) -> Mapping[tuple[Any, ...], int]:
    """Return how many rows there are of each kind; a row has a value of each column."""
    # Hot path: jobs of a batch were mostly enqueued, and started, together.
    length = len(columns[0])
    if not length:
        return {}
    first = tuple(column[0] for column in columns)
    if all(column.count(column[0]) == length for column in columns):
        return {first: length}
    return Counter(zip(*columns, strict=True))


def count_completed(counts: Counts, started_at: float | None, number: int, now: float) -> None:
    """Count attempts that started at the same time and succeeded. None is an unconfirmed claim."""
    add(counts, COMPLETED, number)
    if started_at is not None:
        add(counts, RUNS + bucket(now - started_at), number)


def count_move(
    counts: Counts, job: JobRecord, state: State, now: float, *, is_refunded: bool = False
) -> None:
    """Count a job's move into another state. `is_refunded`: the attempt does not count."""
    if job.state is RUNNING:
        if job.started_at is not None:
            add(counts, RUNS + bucket(now - job.started_at), 1)
        back = RETRIED if state is State.RETRYABLE and not is_refunded else RETURNED
        add(counts, _ENDED_BY.get(state, back), 1)
    elif state is AVAILABLE:
        if job.is_final:
            add(counts, ENQUEUED, 1)
    elif state in _ENDED_BY:
        add(counts, _ENDED_BY[state], 1)


def add(counts: Counts, slot: int, number: int) -> None:
    """Add a number to a slot."""
    if number:
        counts[slot] = counts.get(slot, 0) + number


# -- how it is kept ------------------------------------------------------------------------------


def encode_counts(counts: Counts) -> list[int]:
    """Return counts as they are stored."""
    return [slot + SLOTS * number for slot, number in counts.items()]


def decode_counts(codes: object) -> Counts:
    """Return stored counts. What cannot be read, in a damaged row, counts nothing."""
    counts: Counts = {}
    if isinstance(codes, list):
        for code in cast("list[object]", codes):
            if type(code) is int and code > 0:
                add(counts, code % SLOTS, code // SLOTS)
    return counts


class QueueMinute(msgspec.Struct, frozen=True):
    """What is known of one minute of a queue. Several of the same minute add up."""

    queue: str
    minute: int
    counts: Counts


# -- how it is read ------------------------------------------------------------------------------


class Spread(Record, frozen=True, kw_only=True):
    """How long `count` jobs took, in seconds: half of them at most `p50`, 95 % at most `p95`.

    The values are right within a factor of two, because only buckets are kept. None: no job.
    """

    count: int = 0
    p50: float | None = None
    p95: float | None = None


NO_SPREAD = Spread()


class HistoryPoint(Record, frozen=True, kw_only=True):
    """What happened in the `step` seconds from `at` on.

    `enqueued` jobs entered the queue, `started` were claimed; attempts `completed`, are `retried`
    later, or were `returned` and do not count (released, snoozed, their worker died, or its code
    lacks the task). Jobs were `discarded` or `cancelled`, after a run or without one. `waiting` is
    how long jobs were due before they started, `running` how long attempts took.
    """

    at: float
    enqueued: int = 0
    started: int = 0
    completed: int = 0
    retried: int = 0
    returned: int = 0
    discarded: int = 0
    cancelled: int = 0
    waiting: Spread = NO_SPREAD
    running: Spread = NO_SPREAD


class QueueHistory(Record, frozen=True, kw_only=True):
    """What happened in a queue, or in all (None), from `since` up to `until`, without gaps."""

    queue: str | None
    since: float
    until: float
    step: float
    points: tuple[HistoryPoint, ...]


def add_counts(total: Counts, more: Mapping[int, int]) -> None:
    """Add counts to others."""
    for slot, number in more.items():
        total[slot] = total.get(slot, 0) + number


def make_point(at: float, counts: Mapping[int, int]) -> HistoryPoint:
    """Return counts as a point of a history."""
    numbers: dict[str, Any] = {name: counts.get(slot, 0) for slot, name in enumerate(COUNTERS)}
    waiting, running = (spread(histogram(counts, first)) for first in (WAITS, RUNS))
    return HistoryPoint(at=at, waiting=waiting, running=running, **numbers)


def histogram(counts: Mapping[int, int], first: int) -> list[int]:
    """Return the buckets of a histogram, from its `first` slot on."""
    return [counts.get(slot, 0) for slot in range(first, first + BUCKETS)]


def spread(buckets: Sequence[int]) -> Spread:
    """Return how long jobs took."""
    return Spread(count=sum(buckets), p50=percentile(buckets, 0.5), p95=percentile(buckets, 0.95))


def percentile(buckets: Sequence[int], part: float) -> float | None:
    """Return the time that this part of a histogram's jobs took at most; None if it has none."""
    wanted = part * sum(buckets)
    if not wanted:
        return None
    for number, count in enumerate(buckets):
        if count and wanted <= count:
            return _within(number, wanted / count)
        wanted -= count
    return _within(_LAST, 1.0)  # what is left of `wanted` was rounding


def _within(number: int, part: float) -> float:
    """Return a value within a bucket. Within most, each is likelier the smaller it is."""
    end = FIRST_END * 2.0**number
    return end * part if number == 0 else end / 2 * 2.0**part
