"""One transaction as the operations see it: named statements, counts and hints kept to its end.

An operation is a coroutine over `Tx`; it waits for nothing but its statements. SQLite drives it to
its end in one step, a store over the network awaits it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any

import msgspec

from ...core.history import Counts, add_counts, encode_counts, minute_of
from ...core.job import ErrorInfo, JobRecord, State
from ...core.queue_totals import PAST, Past, corrected
from ...core.retry import Draw
from ...errors import UnavailableError
from ..messages import HintKind
from .executor import Executor, Params
from .queue_state import STATES, QueueState, copy_of, decode_minute
from .rows import NO_QUEUE, Row
from .statements import READ_ONLY

_INTEGERS = {int}
_encode = msgspec.json.Encoder().encode


class ConflictError(UnavailableError):
    """Another transaction changed what this one had read. Nothing was written; safe to repeat."""


class Lanes:
    """The lanes known to this process. They are never deleted, so a known one stays right."""

    def __init__(self) -> None:
        self.ids: MutableMapping[tuple[str, tuple[str, ...]], int] = {}
        self.queues: MutableMapping[int, str] = {}
        # What the present minute of a queue was written as, so that it is not decoded again.
        self.minutes: dict[str, tuple[str, Counts]] = {}

    def forget(self) -> None:
        """Forget all, as some may have been made in a transaction that was rolled back."""
        self.ids.clear()
        self.queues.clear()


class Tx:
    """One transaction. `now` is its one time; counts and hints are kept until it ends well.

    `careful`: the operations are run again because the database has rejected a statement of one of
    them. So they look first, at the price of a statement, whether it will, and say why.
    `passes_over`: they are run again because another transaction holds a queue for long. So they do
    without those that are held. `is_held_open`: the application commits, perhaps much later, so
    nothing may be locked that a worker needs to go on.
    """

    def __init__(
        self,
        db: Executor,
        lanes: Lanes,
        now: float,
        draw: Draw,
        *,
        careful: bool = False,
        passes_over: bool = False,
        is_held_open: bool = False,
    ) -> None:
        self.now = now
        self.draw = draw
        self.careful = careful
        self.is_held_open = is_held_open
        self._passes_over = passes_over
        self.hints: dict[HintKind, dict[str, None]] = {}
        self.discards: list[tuple[JobRecord, ErrorInfo]] = []
        self._db = db
        self._lanes = lanes
        self._queues: dict[str, QueueState] = {}
        self._saved: dict[str, QueueState] = {}
        self._saved_discards = 0
        self._deferred: tuple[str, list[Params]] | None = None
        self._locked_queues: set[str] = set()
        self.wrote = False

    @property
    def excludes_writers(self) -> bool:
        """Whether no other transaction can write meanwhile."""
        return self._db.excludes_writers

    def save_counts(self) -> None:
        """Save the counts and the discards, for `restore_counts`."""
        self._saved = {name: copy_of(queue) for name, queue in self._queues.items()}
        self._saved_discards = len(self.discards)

    def restore_counts(self) -> None:
        """Restore what was saved after the statements were rolled back."""
        self._queues = self._saved
        del self.discards[self._saved_discards :]
        self._deferred = None
        self._locked_queues.clear()
        self._lanes.forget()

    async def rows(self, name: str, params: Params = ()) -> list[Row]:
        """Run a statement and return its rows."""
        await self.run_deferred()
        self.wrote = self.wrote or name not in READ_ONLY
        return await self._db.rows(name, params)

    async def many(self, name: str, params: Iterable[Params]) -> list[Row]:
        """Run a statement for each set of parameters and return all rows."""
        await self.run_deferred()
        self.wrote = True
        return await self._db.many(name, params)

    async def change(self, name: str, params: Sequence[Params]) -> None:
        """Run a guarded statement for each set of parameters; each must change exactly one row.

        Raises ConflictError if one did not: another transaction was faster.
        """
        await self.run_deferred()
        self.wrote = True
        if await self._db.change(name, params) < len(params):
            raise ConflictError(
                f"another process changed the same rows first ({name}); nothing was written, "
                "so try again"
            )

    async def lock_worker(self, worker: str, *, shared: bool = False) -> None:
        """Hold a worker's orders: shared to rely on them, otherwise to change them.

        Locks are taken in one order, so that no two transactions wait for each other: a worker,
        then queues by name, then running jobs by id. Whoever holds a running job waits for no
        queue, because an application's transaction may hold the queue and complete the job at its
        commit. Jobs in other states are taken only if nobody else holds them ({skip_locked}).
        """
        if not self._db.excludes_writers:
            await self._db.lock("worker", [worker], shared=shared)

    async def lock_jobs(self, ids: Iterable[str]) -> None:
        """Hold jobs before their state is read and a decision is based on it."""
        if not self._db.excludes_writers:
            ordered = sorted(set(ids))
            if ordered:
                await self._db.lock("job", ordered)

    async def lock_queue(self, name: str) -> QueueState:
        """Return a queue as it stands, held: no other transaction adds jobs to it or to its line.

        Every decision that may raise a bounded queue's depth needs this; lowering it does not.
        """
        queue = await self.used_queue(name)
        if not self._db.excludes_writers and name not in self._locked_queues:
            await self._db.lock("queue", [name])
            await self._reload_locked(name, queue)
        return queue

    async def limit_waits(self) -> None:
        """Fail soon, and say why, where another transaction holds what an operator changes."""
        if not self._db.excludes_writers:
            await self._db.limit_waits()

    async def try_lock_queue(self, name: str) -> bool:
        """Hold a queue as `lock_queue` does, unless another transaction holds it for long.

        For what another call can do later: an application may keep its transaction open for
        minutes.
        """
        if self._db.excludes_writers or name in self._locked_queues:
            return True
        queue = await self.used_queue(name)
        is_held = await self._db.try_lock_queue(name, patiently=not self._passes_over)
        if is_held:
            await self._reload_locked(name, queue)
        return is_held

    async def _reload_locked(self, name: str, queue: QueueState) -> None:
        self._locked_queues.add(name)
        [(capacity, paused, _, _, *counts)] = await self.rows("queue_state", (name,))
        queue.reload(capacity, bool(paused), dict(zip(STATES, counts, strict=True)))

    async def defer(self, name: str, params: list[Params]) -> None:
        """Run a statement for each set of parameters before any other statement is run.

        One statement deferred by several operations runs once for all, at half the cost.
        """
        self.wrote = True
        if self._deferred is not None and self._deferred[0] == name:
            self._deferred[1].extend(params)
        else:
            await self.run_deferred()
            self._deferred = name, params

    async def run_deferred(self) -> None:
        """Run the deferred statements."""
        if self._deferred is not None:
            name, params = self._deferred
            self._deferred = None
            await self._db.many(name, params)

    def hint(self, kind: HintKind, *subjects: str) -> None:
        """Note a hint to send once the transaction is committed."""
        if subjects:
            self.hints.setdefault(kind, {}).update(dict.fromkeys(subjects))

    async def queue(self, name: str) -> QueueState | None:
        """Return a queue as it stands, or None if it was never used."""
        known = self._queues.get(name)
        if known is None:
            rows = await self.rows("queue_state", (name,))
            if not rows:
                return None
            known = await self._know(name, *rows[0])
        return known

    async def read_stocked(self, names: Sequence[str]) -> None:
        """Read those of these queues from which a claim may get a job."""
        if len(names) == 1:
            await self.queue(names[0])
        elif unknown := [name for name in names if name not in self._queues]:
            listed = msgspec.json.encode(unknown).decode()
            for name, *row in await self.rows("stocked_queues", (listed,)):
                await self._know(name, *row)

    def is_stocked(self, name: str) -> bool:
        """Whether a claim may get a job from a queue, as far as this transaction has read it."""
        return name in self._queues and self._queues[name].is_stocked

    async def _know(
        self,
        name: str,
        capacity: int | None,
        paused: int,
        minute: Any,
        recent: Any,
        *counts: int,
    ) -> QueueState:
        recounted = set(map(type, counts)) != _INTEGERS  # in a damaged row
        if recounted:
            counted: dict[str, int] = dict(await self.rows("count_queue", (name,)))
            counts = tuple(counted.get(state, 0) for state in STATES)
        if type(capacity) is not int:  # the next producer declares it again
            capacity = None
        written = dict(zip(STATES, counts, strict=True))
        known = QueueState(capacity, bool(paused), dict(written), written, recounted)
        known.minute, known.recent = minute if type(minute) is int else None, recent
        self._queues[name] = known
        return known

    async def used_queue(self, name: str) -> QueueState:
        """Return a queue as it stands, making it if it was never used."""
        known = await self.queue(name)
        if known is None:
            await self.rows("add_queue", (name,))
            written = dict.fromkeys(STATES, 0)
            known = QueueState(capacity=None, paused=False, counts=dict(written), written=written)
            self._queues[name] = known
        return known

    async def tally(self, name: str, state: State, change: int) -> None:
        """Change how many jobs of a state a queue has."""
        if name == NO_QUEUE:
            return
        queue = self._queues.get(name) or await self.used_queue(name)
        queue.counts[state] += change

    async def note_past(self, name: str, changes: Iterable[Past], count: int = 1) -> None:
        """Count what the counts of a queue show no more: each change for `count` jobs."""
        if name != NO_QUEUE:
            past = (await self.used_queue(name)).past
            for what in changes:
                past[what] = past.get(what, 0) + count

    async def happened(self, name: str) -> Counts:
        """Return what this transaction did in a queue, to be added to; see core/history.py."""
        if name == NO_QUEUE:
            return {}
        return (self._queues.get(name) or await self.used_queue(name)).happened

    async def recount(self, name: str, counted: Mapping[State, int]) -> None:
        """Correct how many jobs of each state a queue has."""
        queue = await self.used_queue(name)
        after = {state: counted.get(state, 0) for state in STATES}
        for what, count in corrected(queue.counts, after).items():
            queue.past[what] = queue.past.get(what, 0) + count
        queue.counts.update(after)

    async def reset_counts(self, name: str, counted: Mapping[State, int]) -> None:
        """Write how many jobs of each state a queue has, whatever its row says."""
        counts = {state: counted.get(state, 0) for state in STATES}
        await self.rows("set_counts", (*counts.values(), name))
        queue = await self.used_queue(name)
        queue.counts, queue.written = counts, dict(counts)

    async def write_tallies(self) -> None:
        """Write the changed counts, and what happened. Called once, before the transaction ends."""
        await self.run_deferred()
        for name, queue in self._queues.items():
            if queue.past:
                await self.rows("note_past", (name, *(queue.past.get(each, 0) for each in PAST)))
            if queue.counts == queue.written and not queue.happened:
                continue
            if queue.recounted:
                await self.rows("set_counts", (*queue.counts.values(), name))
                queue.written = queue.counts
            changes = (queue.counts[state] - queue.written[state] for state in STATES)
            minute, happened = await self._minute(name, queue) if queue.happened else (None, None)
            await self.rows("tally", (*changes, minute, happened, name))

    async def _minute(self, name: str, queue: QueueState) -> tuple[int, object]:
        """Return the present minute, and what is to be written about it.

        Where no other transaction can write, that is all that happened in this minute. The queue's
        last minute moves into the history, to what it has of that minute if the clock was set back.
        """
        minute = minute_of(self.now)
        if not self._db.excludes_writers:
            return minute, encode_counts(queue.happened)
        written, known = self._lanes.minutes.get(name, ("", {}))
        counts = dict(known) if written == queue.recent else decode_minute(queue.recent)
        if queue.minute != minute:
            if queue.minute is not None and counts:
                await self.add_minute(name, queue.minute, counts)
            counts = {}
        add_counts(counts, queue.happened)
        text = _encode(encode_counts(counts)).decode()
        self._lanes.minutes[name] = text, counts
        return minute, text

    async def add_minute(self, name: str, minute: int, counts: Counts) -> None:
        """Add to what the history has of a minute."""
        if not self._db.excludes_writers:
            await self.rows("put_minute", (name, minute, encode_counts(counts)))
            return
        for (known,) in await self.rows("minute", (name, minute)):
            add_counts(counts, decode_minute(known))
        await self.rows("put_minute", (name, minute, _encode(encode_counts(counts)).decode()))

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
        """Return the queue that a lane belongs to; NO_QUEUE if there is no such lane."""
        known = self._lanes.queues.get(lane)
        if known is None:
            for (name,) in await self.rows("lane_queue", (lane,)):
                known = self._lanes.queues[lane] = str(name)
        return known or NO_QUEUE
