"""For whoever scales: what waits and runs, and who leads."""

from __future__ import annotations

from collections.abc import Iterator

from .. import leading
from ..loading import add_up
from ..messages import Leader, Load
from .producing import live_offers
from .state import Memory


def load(memory: Memory, *, limit: int) -> list[Load]:
    """Return what waits and runs, by queue and required labels."""
    return add_up((*_standing(memory), *_offered(memory)), limit=limit)


def lead(memory: Memory, name: str, holder: str, *, hold: float, note: str | None) -> Leader:
    """Let somebody lead, if nobody else does."""
    before = memory.leaders.get(name)
    after = leading.lead(before, name, holder, hold=hold, note=note, now=memory.now)
    if after.term:
        memory.leaders[name] = after
    return after


def leader(memory: Memory, name: str) -> Leader | None:
    """Return who leads, or led last."""
    return memory.leaders.get(name)


def _standing(memory: Memory) -> Iterator[Load]:
    for queue, requires, lane in memory.books.lanes():
        waits = lane.waiting > 0 and not memory.queue(queue).paused
        yield Load(
            queue,
            tuple(requires),
            waiting=lane.waiting if waits else 0,
            running=lane.running,
            oldest_at=memory.books.oldest_of(lane) if waits else None,
        )


def _offered(memory: Memory) -> Iterator[Load]:
    """Yield each job that waits for a rendezvous."""
    for name, queue in memory.queues.items():
        if queue.capacity == 0 and not queue.paused:
            for offer in live_offers(memory, queue):
                for new in memory.offers[offer].jobs:
                    yield Load(name, new.options.requires, waiting=1, running=0)
