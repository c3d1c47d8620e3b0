"""Enqueues the jobs of cron schedules when they are due."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from ..core import cron
from ..core.event_log import open_event_log
from ..core.job import NewJob, ScheduleInfo
from ..errors import UsageError
from ..store.call_style import AsyncCalls
from ..store.page_walk import read_schedules
from ..store.protocol import Store

log = open_event_log("schedule_ticker")


class Schedule(msgspec.Struct, frozen=True):
    """A schedule that this program declares: its rule, and what makes the job of one tick."""

    info: ScheduleInfo
    job: Callable[[], NewJob]


class ScheduleTicker:
    """Ticks the schedules of this program. The store makes sure that each tick happens once."""

    def __init__(self, store: Store, schedules: Sequence[Schedule]) -> None:
        self._store = store
        self._schedules = {schedule.info.name: schedule for schedule in schedules}
        self._is_registered = False

    async def register(self) -> None:
        """Put the schedules into the store. Only the first success does anything."""
        if self._is_registered:
            return
        for schedule in self._schedules.values():
            info = schedule.info
            first = cron.next_tick(cron.parse(info.cron, info.timezone), self._store.now())
            await self._store.put_schedule(msgspec.structs.replace(info, next_at=first))
        self._is_registered = True

    async def tick(self) -> None:
        """Enqueue what is due by now."""
        if not self._schedules:
            return
        now = self._store.now()
        for info in await read_schedules(AsyncCalls(), self._store):
            known = self._schedules.get(info.name)
            if known is None or info.paused or info.next_at > now:
                continue
            try:
                await self._tick(known, info, now)
            except UsageError as error:
                # Its row is damaged. The others tick, and it does once it is declared again.
                log.error("schedule.damaged name=%s error=%s", info.name, error)  # noqa: TRY400 - no traceback helps here
                self._is_registered = False

    async def _tick(self, known: Schedule, info: ScheduleInfo, now: float) -> None:
        rule = cron.parse(info.cron, info.timezone)
        ticks, next_at = cron.due_ticks(rule, info.next_at, now, info.missed)
        jobs = [known.job() for _ in ticks]
        if await self._store.tick(info.name, due_at=info.next_at, next_at=next_at, jobs=jobs):
            log.info("schedule.ticked name=%s jobs=%d", info.name, len(jobs))
