"""What happened in the queues: the minutes of the history."""

from __future__ import annotations

from itertools import islice

from ...core.history import MINUTES_KEPT, MOST_MINUTES, QueueMinute, minute_of
from ...core.page import Page
from .data import MemoryData


def minutes(
    memory: MemoryData,
    first: int,
    last: int,
    *,
    queue: str | None = None,
    after: tuple[int, str] | None = None,
    limit: int,
) -> Page[QueueMinute]:
    """Return one page of the minutes from `first` to `last`."""
    names = memory.minutes if queue is None else [queue] if queue in memory.minutes else []
    places = sorted(
        (minute, name)
        for name in names
        for minute in memory.minutes[name]
        if first <= minute <= last and (after is None or (minute, name) > after)
    )
    found = (
        QueueMinute(name, minute, dict(memory.minutes[name][minute]))
        for minute, name in islice(places, limit)
    )
    return Page(found, more=len(places) > limit)


def prune_minutes(memory: MemoryData) -> None:
    """Delete the minutes that are too old, or too many."""
    before = minute_of(memory.now - MINUTES_KEPT)
    if sum(map(len, memory.minutes.values())) > MOST_MINUTES:
        newest = sorted((each for of in memory.minutes.values() for each in of), reverse=True)
        before = max(before, newest[MOST_MINUTES] + 1)
    for queue, of_queue in list(memory.minutes.items()):
        for minute in [each for each in of_queue if each < before]:
            del of_queue[minute]
        if not of_queue:
            del memory.minutes[queue]
