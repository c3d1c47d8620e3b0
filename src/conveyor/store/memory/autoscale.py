"""For autoscalers: the load of the queues, and the elected leader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from .. import leadership
from ..load_totals import add_up
from ..messages import Leader, Load
from .data import MemoryData
from .enqueue import live_offers


def load(memory: MemoryData, *, limit: int, queue: str | None = None) -> list[Load]:
    """Return how many jobs wait and run, by queue and required labels."""
    names = memory.queues if queue is None else [queue] if queue in memory.queues else []
    return add_up((*_standing(memory, names), *_offered(memory, names)), limit=limit)


def lead(
    memory: MemoryData, name: str, holder: str, *, hold: float, note: str | None = None
) -> Leader:
    """Take or renew the leadership, unless somebody else holds it."""
    before = memory.leaders.get(name)
    after = leadership.lead(before, name, holder, hold=hold, note=note, now=memory.now)
    if after.term:
        memory.leaders[name] = after
    return after


def leader(memory: MemoryData, name: str) -> Leader | None:
    """Return the present leader, or the last one."""
    return memory.leaders.get(name)


def _standing(memory: MemoryData, names: Iterable[str]) -> Iterator[Load]:
    for name in names:
        for each in memory.index.loads(name):
            if memory.queues[name].paused:
                yield msgspec.structs.replace(each, waiting=0, oldest_at=None)
            else:
                yield each


def _offered(memory: MemoryData, names: Iterable[str]) -> Iterator[Load]:
    """Yield each job that is offered at a rendezvous."""
    for name in names:
        queue = memory.queues[name]
        if queue.capacity == 0 and not queue.paused:
            for offer in live_offers(memory, queue):
                for new in memory.offers[offer].jobs:
                    yield Load(name, new.options.requires, waiting=1, running=0)
