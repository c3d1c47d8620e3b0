"""Keeps the queues tidy: makes due jobs available, rescues, prunes, ticks schedules, beats.

Every worker does it; the store sees to it that nothing happens twice. Where somebody else tends the
store, a worker only beats.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from ..core import cron
from ..core.clock import elapsed
from ..core.job import NewJob, ScheduleInfo, State, WorkerInfo
from ..core.timeout import wait_for_event
from ..errors import ConveyorError, InvalidTransitionError
from ..store.messages import Order
from ..store.protocol import Store
from ..system import crash_journal
from ..system.crash_journal import has_died
from ..system.process_identity import boot_id, is_dead

log = logging.getLogger("conveyor.upkeep")

# A dead worker's jobs are to be available again within seconds.
ROUND = 1.0
# Beats, expired jobs, lapsed leases and silent offers can wait a little.
SWEEP = 5.0
PRUNE = 60.0
# How long a keeper gets to see to its dead worker's jobs, where no lock tells that it is dead too.
KEEPER = 5.0
BATCH = 1000
# A worker that was silent for this long is not shown any more; its jobs follow their leases.
FORGET = 600.0

DAY = 86400.0
RETENTION: Mapping[State, float] = {
    State.COMPLETED: DAY,
    State.CANCELLED: 7 * DAY,
    State.DISCARDED: 30 * DAY,
}


class Schedule(msgspec.Struct, frozen=True):
    """A schedule this program knows how to tick: its rule, and what one tick enqueues."""

    info: ScheduleInfo
    job: Callable[[], NewJob]


class Upkeep:
    """One loop beside a worker. `me` says who the worker is and how busy; `obey` is told at
    each beat what it is to do.

    `sweep` is how often, in seconds, it looks for what can wait a little. `elapsed` tells how much
    time has passed since some moment, in seconds. `dead` says whether a worker is surely gone
    (given this process's `boot_id()`), `begun` which jobs one had begun, by its board.
    `after` is called after each round that went
    well.
    """

    def __init__(
        self,
        *,
        store: Store,
        me: Callable[[], WorkerInfo],
        obey: Callable[[Order], object] = str,
        schedules: Sequence[Schedule] = (),
        retention: Mapping[State, float] = RETENTION,
        sweep: float = SWEEP,
        elapsed: Callable[[], float] = elapsed,
        dead: Callable[[WorkerInfo, str], bool] = is_dead,
        died: Callable[[WorkerInfo, str, str], bool] = has_died,
        begun: Callable[[str, str], Collection[str] | None] = crash_journal.read,
        after: Callable[[WorkerInfo], None] | None = None,
    ) -> None:
        self._elapsed = elapsed
        self._is_dead = dead
        self._has_died = died
        self._begun = begun
        self._store = store
        self._sweep = sweep
        self._me = me
        self._after = after
        self._schedules = {schedule.info.name: schedule for schedule in schedules}
        self._retention = retention
        self._obey = obey
        self._here = boot_id()
        # Who is dead, and since when that is known.
        self._suspects: dict[str, float] = {}
        self._poke = asyncio.Event()
        self._wish: Order | None = None
        self._next_due_at: float | None = None
        self.rounds = 0
        self._sweep_due = 0.0
        self._prune_due = self._elapsed() + PRUNE / 2

    def poke(self, *, sweep: bool = False) -> None:
        """Look again soon: something may be due earlier than was known. `sweep`: beat as well."""
        if sweep:
            self._sweep_due = 0.0
        self._poke.set()

    def wish(self, order: Order) -> None:
        """Have the store know that this worker claims nothing, or claims again."""
        self._wish = order
        self.poke(sweep=True)

    async def run(self) -> None:
        """Do a round every second, or when something is due, until cancelled."""
        known = False
        while True:
            try:
                if not known and not self._store.maintains_itself:
                    await self._put_schedules()
                    known = True
                await self.round()
                if self._after is not None:
                    self._after(self._me())
            except ConveyorError as error:
                log.error("upkeep.failed error=%s", error)  # noqa: TRY400 - it says all there is
            if await wait_for_event(self._poke, self._pause()):
                # Many jobs that fail at once must not make as many rounds.
                await asyncio.sleep(0.01)

    async def round(self) -> None:
        """Do once what is to be done now."""
        now = self._elapsed()
        poked, sweeping = self._poke.is_set(), now >= self._sweep_due or self._wish is not None
        # What comes during this round may come too late for it.
        self._poke.clear()
        if sweeping:
            self._sweep_due = now + self._sweep
            self._obey(await self._beat())
        if not self._store.maintains_itself:
            await self._tend(now, sweeping=sweeping, poked=poked)
        self.rounds += 1

    async def make_due(self) -> bool:
        """Make available what is due by now, where that is done here; say if there was any."""
        if self._store.maintains_itself:
            return False
        staged = await self._store.stage(limit=BATCH)
        self._next_due_at = staged.next_due_at
        return staged.moved > 0

    async def _tend(self, now: float, *, sweeping: bool, poked: bool) -> None:
        if sweeping or poked or self._is_due():
            await self.make_due()
        await self._rescue(sweeping=sweeping)
        await self._tick()
        if now >= self._prune_due:
            pruned = await self._store.prune(self._retention, limit=BATCH)
            self._prune_due = now + (ROUND if pruned == BATCH else PRUNE)
            await self._store.sweep_contents(limit=BATCH)

    async def _beat(self) -> Order:
        order = await self._store.beat(self._me())
        # A wish that the store has not heard yet is newer than its answer.
        while self._wish is not None:
            order = self._wish
            try:
                await self._store.order(self._me().id, order)
            except InvalidTransitionError:  # somebody has told it to drain, and that is final
                order, self._wish = "drain", None
            if self._wish == order:
                self._wish = None
        return order

    def _pause(self) -> float:
        if self._next_due_at is None:
            return ROUND
        return min(ROUND, max(0.001, self._next_due_at - self._store.now()))

    def _is_due(self) -> bool:
        return self._next_due_at is not None and self._next_due_at <= self._store.now()

    async def _rescue(self, *, sweeping: bool) -> None:
        workers = await self._store.workers()
        me = self._me().id
        silent = self._store.now() - FORGET
        folder = self._store.folder
        dead = self._dead([each for each in workers if each.id != me], folder)
        if not dead and not sweeping:
            return
        rescued = await self._store.rescue(limit=BATCH)
        for worker in workers:
            if worker.id in dead and len(rescued) < BATCH:
                begun = self._begun(folder, worker.begun)
                left = BATCH - len(rescued)
                rescued += await self._store.rescue(dead=[worker.id], begun=begun, limit=left)
        if rescued:
            log.warning("jobs.rescued count=%d dead_workers=%d", len(rescued), len(dead))
        if len(rescued) == BATCH:
            return
        for worker in workers:
            if worker.id in dead or (worker.beat_at < silent and worker.id != me):
                await self._store.leave(worker.id)
                crash_journal.remove(folder, worker.begun)

    def _dead(self, others: Sequence[WorkerInfo], folder: str) -> frozenset[str]:
        """Return who is dead. A keeper gets a while to see to its worker's jobs."""
        now = self._elapsed()
        gone = [each.id for each in others if self._is_dead(each, self._here)]
        self._suspects = {name: self._suspects.get(name, now) for name in gone}
        lingering = frozenset(n for n, since in self._suspects.items() if now - since >= KEEPER)
        left = frozenset(each.id for each in others if self._has_died(each, folder, self._here))
        return left | lingering

    async def _put_schedules(self) -> None:
        for schedule in self._schedules.values():
            info = schedule.info
            first = cron.next_tick(cron.parse(info.cron, info.timezone), self._store.now())
            await self._store.put_schedule(msgspec.structs.replace(info, next_at=first))

    async def _tick(self) -> None:
        if not self._schedules:
            return
        now = self._store.now()
        for info in await self._store.schedules():
            known = self._schedules.get(info.name)
            if known is None or info.paused or info.next_at > now:
                continue
            rule = cron.parse(info.cron, info.timezone)
            ticks, next_at = cron.due_ticks(rule, info.next_at, now, info.missed)
            jobs = [known.job() for _ in ticks]
            if await self._store.tick(info.name, due_at=info.next_at, next_at=next_at, jobs=jobs):
                log.info("schedule.ticked name=%s jobs=%d", info.name, len(jobs))
