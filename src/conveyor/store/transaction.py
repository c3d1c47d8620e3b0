"""One transaction as the operations see it: named statements, and books kept until its end.

An operation is a coroutine over `Tx`; it waits for nothing but its statements. SQLite drives it to
its end in one step, a store over the network awaits it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Protocol

import msgspec

from ..job import State
from ..retry import Draw
from .protocol import HintKind
from .rows import JOB_COLUMNS

Row = tuple[Any, ...]
Params = Sequence[Any] | Mapping[str, Any]


class Executor(Protocol):
    """Runs one named statement on one connection."""

    async def rows(self, name: str, params: Params = ()) -> list[Row]:
        """Run a statement and return its rows."""
        ...

    async def many(self, name: str, params: Iterable[Params]) -> list[Row]:
        """Run a statement for each set of parameters and return all rows."""
        ...


class QueueState(msgspec.Struct):
    """A queue's row, with what this transaction has changed so far."""

    capacity: int | None
    paused: bool
    counts: Counter[State]

    @property
    def depth(self) -> int:
        """How many jobs wait."""
        counts = self.counts
        return counts[State.SCHEDULED] + counts[State.AVAILABLE] + counts[State.RETRYABLE]


class Lanes:
    """The lanes known to this process. They are never deleted, so a known one stays right."""

    def __init__(self) -> None:
        self.ids: dict[tuple[str, tuple[str, ...]], int] = {}
        self.queues: dict[int, str] = {}

    def forget(self) -> None:
        """Forget all, as some may have been made in a transaction that was rolled back."""
        self.ids.clear()
        self.queues.clear()


class Tx:
    """One transaction. `now` is its one time; counts and hints are kept until it ends well."""

    def __init__(self, db: Executor, lanes: Lanes, now: float, draw: Draw) -> None:
        self.now = now
        self.draw = draw
        self.hints: dict[HintKind, dict[str, None]] = {}
        self._db = db
        self._lanes = lanes
        self._queues: dict[str, QueueState] = {}
        self._deltas: dict[str, Counter[State]] = {}
        self._journal: list[tuple[str, State, int]] = []

    def begin_operation(self) -> None:
        """Note that what follows belongs to one operation, which may yet fail."""
        self._journal.clear()

    def undo_operation(self) -> None:
        """Take back what the operation did to the books; its statements were rolled back."""
        for name, state, change in self._journal:
            self._queues[name].counts[state] -= change
            self._deltas[name][state] -= change
        self._journal.clear()
        self._lanes.forget()

    async def rows(self, name: str, params: Params = ()) -> list[Row]:
        """Run a statement and return its rows."""
        return await self._db.rows(name, params)

    async def many(self, name: str, params: Iterable[Params]) -> list[Row]:
        """Run a statement for each set of parameters and return all rows."""
        return await self._db.many(name, params)

    def hint(self, kind: HintKind, *subjects: str) -> None:
        """Note what to tell listeners once the transaction has happened."""
        if subjects:
            self.hints.setdefault(kind, {}).update(dict.fromkeys(subjects))

    async def queue(self, name: str) -> QueueState | None:
        """Return a queue as it stands, or None if it was never used."""
        known = self._queues.get(name)
        if known is None:
            rows = await self.rows("queue", (name,))
            if not rows:
                return None
            capacity, paused, *counts = rows[0]
            known = QueueState(
                capacity, bool(paused), Counter(dict(zip(STATES, counts, strict=True)))
            )
            self._queues[name] = known
        return known

    async def used_queue(self, name: str) -> QueueState:
        """Return a queue as it stands, making it if it was never used."""
        known = await self.queue(name)
        if known is None:
            await self.rows("add_queue", (name,))
            known = self._queues[name] = QueueState(None, False, Counter())  # noqa: FBT003 - not paused
        return known

    async def tally(self, name: str, state: State, change: int) -> None:
        """Note that a queue has more or fewer jobs of a state."""
        queue = await self.used_queue(name)
        queue.counts[state] += change
        self._deltas.setdefault(name, Counter())[state] += change
        self._journal.append((name, state, change))

    async def write_tallies(self) -> None:
        """Write the counts down. Called once, before the transaction ends."""
        for name, deltas in self._deltas.items():
            if any(deltas.values()):
                await self.rows("tally", (*(deltas[state] for state in STATES), name))
        self._deltas.clear()

    async def lane(self, queue: str, requires: tuple[str, ...]) -> int:
        """Return the lane of a queue and labels, making it if need be."""
        known = self._lanes.ids.get((queue, requires))
        if known is not None:
            return known
        labels = msgspec.json.encode(requires).decode()
        rows = await self.rows("lane", (queue, labels))
        rows = rows or await self.rows("add_lane", (queue, labels))
        [(lane,)] = rows
        self._lanes.ids[queue, requires] = lane
        self._lanes.queues[lane] = queue
        return int(lane)

    async def queue_of(self, lane: int) -> str:
        """Return the queue that a lane belongs to."""
        known = self._lanes.queues.get(lane)
        if known is None:
            [(known,)] = await self.rows("lane_queue", (lane,))
            self._lanes.queues[lane] = known
        return str(known)


STATES = (
    State.SCHEDULED,
    State.AVAILABLE,
    State.RUNNING,
    State.RETRYABLE,
    State.COMPLETED,
    State.CANCELLED,
    State.DISCARDED,
)


def statements() -> dict[str, str]:
    """Read statements.sql, by name."""
    text = (files("conveyor.store") / "statements.sql").read_text(encoding="utf-8")
    _, *parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    return {
        name: body.strip().replace("{job}", ", ".join(JOB_COLUMNS))
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }
