"""Reads the minutes of a store's history, page by page, and puts them together in steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Protocol

from ..core.bounds import checked_moment
from ..core.history import (
    MINUTE,
    Counts,
    QueueHistory,
    QueueMinute,
    add_counts,
    make_point,
    minute_of,
)
from ..core.page import Page
from ..core.pending import Pending
from ..errors import UsageError
from .protocol_history import MOST_POINTS

# How many minutes are read at once.
PAGE_MINUTES = 5000
HOUR = 3600.0
LONGEST_STEP = 366 * 86_400


class ReadMinutes(Protocol):
    """Returns one page of the minutes from `first` to `last`, of one queue or of all."""

    def __call__(
        self,
        first: int,
        last: int,
        *,
        queue: str | None = None,
        after: tuple[int, str] | None = None,
        limit: int,
    ) -> Pending[Page[QueueMinute]]:
        """`after` is the minute and the queue of the last entry of a page with more."""
        ...


def read_minutes(
    read: ReadMinutes, first: int, last: int, queue: str | None = None
) -> Iterator[QueueMinute]:
    """Yield the minutes from `first` to `last`; several of one minute and queue add up."""
    after: tuple[int, str] | None = None
    while True:
        page = read(first, last, queue=queue, after=after, limit=PAGE_MINUTES).result()
        yield from page
        if not page.more:
            return
        after = page[-1].minute, page[-1].queue


def read_history(
    read: ReadMinutes,
    queue: str | None,
    *,
    since: float | None,
    until: float | None,
    step: float,
    now: float,
) -> QueueHistory:
    """Return what happened in steps; see `queue_history` of the store protocol."""
    until = now if until is None else checked_moment(until, "until")
    since = until - HOUR if since is None else checked_moment(since, "since")
    minutes = _checked_step(step)
    first = minute_of(since) // minutes
    last = minute_of(until) // minutes
    _check_points(since, until, last - first + 1, minutes)
    counts: defaultdict[int, Counts] = defaultdict(dict)
    for each in read_minutes(read, first * minutes, (last + 1) * minutes - 1, queue):
        add_counts(counts[each.minute // minutes], each.counts)
    length = minutes * MINUTE
    return QueueHistory(
        queue=queue,
        since=float(first * length),
        until=float((last + 1) * length),
        step=float(length),
        points=tuple(
            make_point(float(number * length), counts.get(number, {}))
            for number in range(first, last + 1)
        ),
    )


def _checked_step(step: float) -> int:
    if not (MINUTE <= step <= LONGEST_STEP) or step % MINUTE:
        raise UsageError(f"step must be a multiple of 60 seconds, from 60 on, got {step!r:.40}")
    return int(step) // MINUTE


def _check_points(since: float, until: float, points: int, minutes: int) -> None:
    if points < 1:
        raise UsageError(f"since must not be after until, got {since:g} and {until:g}")
    if points > MOST_POINTS:
        least = -(-points * minutes // (MOST_POINTS - 1)) * MINUTE
        raise UsageError(
            f"{points:,} steps are more than {MOST_POINTS:,}; ask for a step of {least:,} seconds "
            "or more, or for less time"
        )
