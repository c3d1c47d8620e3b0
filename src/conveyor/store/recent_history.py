"""The recent history of all queues, kept in memory: only the last minutes are read again.

For whoever looks at a system every second. It is not thread-safe: its owner holds a lock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

import msgspec

from ..core.history import (
    COMPLETED,
    DISCARDED,
    MINUTE,
    RETRIED,
    WAITS,
    Counts,
    add_counts,
    histogram,
    minute_of,
    percentile,
)
from .history_reader import ReadMinutes, read_minutes
from .protocol_history import MOST_MINUTES_SHOWN

# How many minutes of each queue are kept; of all queues together, as many as can be shown.
QUEUE_MINUTES = 60
# A transaction may end some time after it has begun, so these last minutes are read again.
STILL_CHANGING = 3
# How many minutes of all queues are read at once.
AT_ONCE = 30
# The days whose same hour says what is usual, in seconds; how old that may be; and for how many
# queues it is looked up at once beside those that are asked for.
DAY, USUAL_DAYS, HALF_HOUR = 86_400.0, 7, 1800.0
USUAL_MAX_AGE, USUAL_AT_ONCE = 600.0, 10


class TotalMinute(msgspec.Struct, frozen=True):
    """One minute of all queues together, and the highest p95 of waiting of a single one."""

    counts: Counts
    worst_p95: float | None


class RecentHistory:
    """The last minutes of each queue and of all, and how long jobs usually wait."""

    def __init__(self, read: ReadMinutes) -> None:
        self._read = read
        self._queues: dict[str, dict[int, Counts]] = {}
        self._totals: dict[int, TotalMinute] = {}
        self._first = self._last = 0
        self._usual: dict[str, tuple[float, float | None]] = {}

    def update(self, now: float, minutes: int) -> None:
        """Read what has changed, and what is needed to show so many minutes."""
        minute = minute_of(now)
        wanted = minute - max(minutes, QUEUE_MINUTES) + 1
        if not self._totals or not self._last <= minute < self._last + QUEUE_MINUTES:
            self._queues.clear()
            self._totals.clear()
            self._first = self._last = minute
            begin = wanted
        else:
            begin = self._last - STILL_CHANGING + 1
            if wanted < self._first:
                self._read_totals(wanted, self._first - 1)
                self._first = wanted
        self._read_all(begin, minute)
        self._first, self._last = min(self._first, begin), minute
        self._forget(minute)

    def window(self, queue: str, minutes: int) -> Counts:
        """Return what happened in a queue in the last so many whole minutes and the present one."""
        return _added(self._queues.get(queue, {}), self._last - minutes)

    def total_window(self, minutes: int) -> Counts:
        """Return what happened in all queues, in the same time."""
        first = self._last - minutes
        return _sum(each.counts for m, each in self._totals.items() if m >= first)

    def totals(self, first: int, last: int) -> list[TotalMinute]:
        """Return the minutes of all queues together in which something happened."""
        return [self._totals[m] for m in range(first, last + 1) if m in self._totals]

    def spark(self, queue: str, minutes: int) -> tuple[int, ...]:
        """Return how many jobs of a queue completed in each of the last minutes, oldest first.

        The present minute, which is not over, would look like a fall.
        """
        known = self._queues.get(queue, {})
        shown = min(minutes, QUEUE_MINUTES - 1)
        first = self._last - shown
        return tuple(known.get(first + n, {}).get(COMPLETED, 0) for n in range(shown))

    def usual_waits(
        self, now: float, urgent: Collection[str], others: Iterable[str]
    ) -> Mapping[str, float | None]:
        """Return how long 95 % of the jobs usually waited at most, of the queues known so far.

        Those that are `urgent` are looked up at once, and a few `others`.
        """
        for name in urgent:
            self._look_up(name, now)
        left = USUAL_AT_ONCE
        for name in others:
            if left and self._look_up(name, now):
                left -= 1
        return {name: usual for name, (_, usual) in self._usual.items()}

    def _look_up(self, name: str, now: float) -> bool:
        known = self._usual.get(name)
        if known is not None and 0 <= now - known[0] < USUAL_MAX_AGE:
            return False
        total: Counts = {}
        for day in range(1, USUAL_DAYS + 1):
            middle = now - day * DAY
            first, last = minute_of(middle - HALF_HOUR), minute_of(middle + HALF_HOUR)
            for each in read_minutes(self._read, first, last, name):
                add_counts(total, each.counts)
        self._usual[name] = now, percentile(histogram(total, WAITS), 0.95)
        return True

    def _read_all(self, first: int, last: int) -> None:
        for begin in range(first, last + 1, AT_ONCE):
            end = min(begin + AT_ONCE - 1, last)
            found = self._found(begin, end)
            for minute in range(begin, end + 1):
                for of_queue in self._queues.values():
                    of_queue.pop(minute, None)
                for queue, counts in found.get(minute, {}).items():
                    self._queues.setdefault(queue, {})[minute] = counts
            self._put_totals(found, begin, end)

    def _read_totals(self, first: int, last: int) -> None:
        for begin in range(first, last + 1, AT_ONCE):
            end = min(begin + AT_ONCE - 1, last)
            self._put_totals(self._found(begin, end), begin, end)

    def _found(self, first: int, last: int) -> Mapping[int, Mapping[str, Counts]]:
        found: defaultdict[int, dict[str, Counts]] = defaultdict(dict)
        for each in read_minutes(self._read, first, last):
            add_counts(found[each.minute].setdefault(each.queue, {}), each.counts)
        return found

    def _put_totals(self, found: Mapping[int, Mapping[str, Counts]], first: int, last: int) -> None:
        for minute in range(first, last + 1):
            self._totals.pop(minute, None)
            of_minute = found.get(minute)
            if of_minute:
                waits = (percentile(histogram(c, WAITS), 0.95) for c in of_minute.values())
                worst = max((each for each in waits if each is not None), default=None)
                self._totals[minute] = TotalMinute(_sum(of_minute.values()), worst)

    def _forget(self, minute: int) -> None:
        for of_queue in self._queues.values():
            for old in [each for each in of_queue if each <= minute - QUEUE_MINUTES]:
                del of_queue[old]
        for old in [each for each in self._totals if each <= minute - MOST_MINUTES_SHOWN]:
            del self._totals[old]
        self._first = max(self._first, minute - MOST_MINUTES_SHOWN + 1)


def rate_of(counts: Mapping[int, int], slot: int, now: float, minutes: int) -> float:
    """Return how many a second a window has of a slot: so many whole minutes and the present."""
    return counts.get(slot, 0) / (minutes * MINUTE + max(1.0, now % MINUTE))


def failed_share(counts: Mapping[int, int]) -> float | None:
    """Return which part of the attempts that ended had failed; None if none ended."""
    failed = counts.get(RETRIED, 0) + counts.get(DISCARDED, 0)
    ended = failed + counts.get(COMPLETED, 0)
    return failed / ended if ended else None


def _added(minutes: Mapping[int, Counts], first: int) -> Counts:
    return _sum(counts for minute, counts in minutes.items() if minute >= first)


def _sum(each: Iterable[Mapping[int, int]]) -> Counts:
    total: Counts = {}
    for counts in each:
        add_counts(total, counts)
    return total
