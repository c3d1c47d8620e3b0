"""Puts the overview of a store together: once a second at most, for all who ask."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from time import perf_counter
from typing import Protocol

import msgspec

from ..core.bounds import checked_integer
from ..core.job import JobRecord
from ..core.overview import Overview
from ..core.pending import Pending, run_sync
from ..core.problem import LEAST_WAIT, LaneFacts, ScalerFacts, SystemFacts
from ..core.problems import Sighting, find_problems, follow
from ..core.unreadable import UNREADABLE
from ..errors import UsageError
from .call_style import BlockingCalls
from .history_reader import ReadMinutes
from .messages import Leader, Load
from .overview_view import Sight, queue_facts, render
from .page_walk import read_queues, read_workers
from .protocol import Store
from .protocol_history import LEAST_MINUTES, MOST_MINUTES_SHOWN, MOST_QUEUES_SHOWN
from .recent_history import RecentHistory

# How often a store is looked at, in seconds, and that this takes up to one part of the time in so
# many.
LOOK_EVERY, LOOK_SHARE = 1.0, 20
# How many loads, running jobs, late jobs and marks are looked at.
MOST_LOADS, LONGEST, MOST_STOPPING, MOST_MARKS = 100_000, 5, 100, 100
# How many variants of one look are kept.
MOST_RENDERED = 20
# The scaler whose note is read.
SCALER = "scaler"


class ReadRunning(Protocol):
    """Returns running jobs, the longest first."""

    def __call__(self, *, limit: int, stopping: bool = False) -> Pending[list[JobRecord]]:
        """`stopping`: only those that were asked to stop, by when."""
        ...


class OverviewReader:
    """The overview of one store, for any thread. It remembers what it has shown as a problem."""

    def __init__(self, store: Store, read_minutes: ReadMinutes, read_running: ReadRunning) -> None:
        self._store = store
        self._read_running = read_running
        self._recent = RecentHistory(read_minutes)
        self._lock = threading.Lock()
        self._sightings: dict[str, Sighting] = {}
        self._sight: Sight | None = None
        self._due_at = 0.0
        self._minutes = 0
        self._rendered: dict[tuple[int, int], Overview] = {}

    def read(self, minutes: int, queues: int) -> Overview:
        """Return the overview, with so many minutes of history and so many queues at most."""
        _check("minutes", minutes, LEAST_MINUTES, MOST_MINUTES_SHOWN)
        _check("queues", queues, 0, MOST_QUEUES_SHOWN)
        with self._lock:
            now = self._store.now()
            sight = self._sight
            # The clock may have been set back.
            if sight is None or not sight.now <= now < self._due_at or minutes > self._minutes:
                sight = self._look(now, minutes)
            known = self._rendered.get((minutes, queues))
            if known is None:
                if len(self._rendered) == MOST_RENDERED:
                    self._rendered.clear()
                known = self._rendered[minutes, queues] = render(
                    sight, self._recent, minutes=minutes, queues=queues
                )
            return known

    def _look(self, now: float, minutes: int) -> Sight:
        began = perf_counter()
        self._recent.update(now, minutes)
        sight = self._see(now)
        self._sight, self._minutes = sight, minutes
        self._rendered.clear()
        self._due_at = now + max(LOOK_EVERY, LOOK_SHARE * (perf_counter() - began))
        return sight

    def _see(self, now: float) -> Sight:
        store, calls = self._store, BlockingCalls()
        infos = run_sync(read_queues(calls, store))
        workers = run_sync(read_workers(calls, store))
        lanes = _lanes(store.load(limit=MOST_LOADS).result())
        oldest = {
            name: min((e.oldest_at for e in of if e.oldest_at is not None), default=now)
            for name, of in lanes.items()
        }
        waiting = sorted(oldest, key=lambda name: oldest[name])
        urgent = [name for name in waiting if now - oldest[name] > LEAST_WAIT][:MOST_STOPPING]
        usual = self._recent.usual_waits(now, urgent, [*waiting, *(each.name for each in infos)])
        facts = tuple(
            queue_facts(each, lanes.get(each.name, ()), usual.get(each.name), self._recent, now)
            for each in infos
        )
        snapshot = SystemFacts(
            now=now,
            queues=facts,
            workers=tuple(workers),
            stopping=tuple(self._read_running(limit=MOST_STOPPING, stopping=True).result()),
            scaler=scaler_facts(store.leader(SCALER).result()),
        )
        self._sightings = follow(
            self._sightings, find_problems(snapshot, known=self._sightings), now
        )
        shown = [each.problem for each in self._sightings.values() if each.is_shown(now)]
        return Sight(
            snapshot=snapshot,
            problems=tuple(sorted(shown, key=lambda problem: problem.level != "bad")),
            longest=tuple(self._read_running(limit=LONGEST).result()),
            marks=tuple(store.marks(limit=MOST_MARKS).result()),
        )


def scaler_facts(leader: Leader | None) -> ScalerFacts | None:
    """Return what a scaler has left in its note about its last cycle; None without a note."""
    try:
        return None if leader is None else _decode_note(leader.note).status
    except UNREADABLE:
        return None


class _Note(msgspec.Struct, frozen=True):
    """The part of a scaler's note that is shown; see autoscaler/status.py."""

    status: ScalerFacts


_decode_note = msgspec.json.Decoder(_Note).decode


def _lanes(loads: Sequence[Load]) -> dict[str, tuple[LaneFacts, ...]]:
    lanes: defaultdict[str, list[LaneFacts]] = defaultdict(list)
    for each in loads:
        if each.waiting:
            requires, oldest_at = each.requires, each.oldest_at
            lanes[each.queue].append(
                LaneFacts(requires=requires, waiting=each.waiting, oldest_at=oldest_at)
            )
    return {queue: tuple(of_queue) for queue, of_queue in lanes.items()}


def _check(what: str, value: int, least: int, most: int) -> None:
    try:
        checked_integer(value, least=least, most=most)
    except UsageError as error:
        raise UsageError(f"{what} {error}") from error
