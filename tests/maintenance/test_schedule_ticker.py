"""The ticker enqueues the jobs of schedules, each tick once."""

from __future__ import annotations

import asyncio
import itertools

import msgspec

from conveyor.core.job import NewJob, ScheduleInfo
from conveyor.maintenance.schedule_ticker import Schedule, ScheduleTicker
from conveyor.store.memory.store import MemoryStore
from conveyor.testing import FakeClock

NUMBERS = itertools.count()


def hourly() -> Schedule:
    info = ScheduleInfo(name="tidy", cron="@hourly", timezone="UTC", missed="once", next_at=0.0)
    return Schedule(info, lambda: NewJob(id=f"tick-{next(NUMBERS)}", task="tidy"))


def waiting(store: MemoryStore) -> int:
    return sum(each.depth for each in store.counts().result())


def test_two_workers_with_one_schedule_enqueue_each_tick_once(
    clock: FakeClock, store: MemoryStore
) -> None:
    async def work() -> None:
        tickers = [ScheduleTicker(store, [hourly()]) for _ in range(2)]
        for ticker in tickers:
            await ticker.register()
            await ticker.tick()
        assert waiting(store) == 0
        clock.advance(3600)
        for ticker in tickers:
            await ticker.tick()
        assert waiting(store) == 1

    asyncio.run(work())


def test_a_paused_schedule_does_not_tick(clock: FakeClock, store: MemoryStore) -> None:
    async def work() -> None:
        ticker = ScheduleTicker(store, [hourly()])
        await ticker.register()
        await store.pause_schedule("tidy", paused=True)
        clock.advance(3600)
        await ticker.tick()
        assert waiting(store) == 0

    asyncio.run(work())


def test_a_schedule_that_this_program_does_not_declare_is_left_to_others(
    clock: FakeClock, store: MemoryStore
) -> None:
    async def work() -> None:
        await ScheduleTicker(store, [hourly()]).register()
        clock.advance(3600)
        mine = hourly()
        mine = msgspec.structs.replace(mine, info=msgspec.structs.replace(mine.info, name="mine"))
        await ScheduleTicker(store, []).tick()
        await ScheduleTicker(store, [mine]).tick()
        assert waiting(store) == 0

    asyncio.run(work())


def test_a_schedule_whose_stored_rule_cannot_be_read_heals_and_holds_up_no_other(
    clock: FakeClock, store: MemoryStore
) -> None:
    other = hourly()
    named = msgspec.structs.replace(other.info, name="another")

    async def work() -> None:
        ticker = ScheduleTicker(store, [hourly(), msgspec.structs.replace(other, info=named)])
        await ticker.register()
        [*_, tidy] = await store.schedules()
        for damage in ({"cron": "@hou\ufffd"}, {"timezone": "Mars"}):
            await store.put_schedule(msgspec.structs.replace(tidy, **damage))
            clock.advance(3600)
            before = waiting(store)
            await ticker.tick()
            assert waiting(store) == before + 1
            await ticker.register()
            [*_, healed] = await store.schedules()
            assert (healed.cron, healed.timezone) == ("@hourly", "UTC")

    asyncio.run(work())
