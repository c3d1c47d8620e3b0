"""The scaler's loop, with a clock that stands still, over a store and a yard in memory."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from scaler_harness import INTERVALS, NAME, Site, in_a_loop, site

from conveyor.autoscaler.elector import Elector
from conveyor.autoscaler.scaler import plan_cycle
from conveyor.autoscaler.state import ScalerState
from conveyor.autoscaler.status import ScalerEvent


@in_a_loop
async def test_machines_are_created_for_work_and_removed_when_idle() -> None:
    here = site()
    here.jobs(3)
    async with here.scaler() as scaler:
        await here.look(scaler)
        assert here.states() == ["starting"] * 3
        await here.look(scaler, after=10)
        assert len(here.yard.machines) == 3  # those that boot count
        machines = here.boot()
        held = [here.claim(machine) for machine in machines]
        await here.look(scaler, after=10, times=12)
        assert here.states() == ["running"] * 3  # the busy stay
        for job in held:
            here.store.cancel(job, reason="enough").result()
            here.store.rescue(dead=list(here.agents.values()), limit=10).result()
        await here.look(scaler, after=10, times=4)
        assert here.did().count("drain") == 3
        for machine in machines:
            here.goodbye(machine)
        await here.look(scaler, after=10, times=2)
    assert here.yard.machines == {}
    assert here.did() == ["start", *["drain"] * 3, *["stop"] * 3, *["stopped"] * 3]


@in_a_loop
async def test_every_action_is_in_the_audit_and_in_the_log_with_its_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    here = site()
    here.jobs(2)
    heard: list[ScalerEvent] = []
    with caplog.at_level(logging.INFO):
        async with here.scaler(on_event=heard.append) as scaler:
            await here.look(scaler)
    assert [(event.did, event.subject, event.count) for event in heard] == [("start", "plain", 2)]
    assert here.audit() == [("scale start", "2: 2 jobs on queue 'default' without a free slot")]
    [action] = here.store.actions(limit=10).result()
    assert (action.who, action.subject) == ("scaler one", "plain")
    line = "scale.start pool=plain count=2 why=2 jobs on queue 'default' without a free slot"
    assert line in [record.message for record in caplog.records]


@in_a_loop
async def test_one_of_two_scalers_acts_and_the_other_continues_where_it_stopped() -> None:
    here = site()
    here.jobs(2)
    async with here.scaler("two") as two:
        async with here.scaler("one") as one:
            assert await here.look(one)
            assert not await here.look(two)
            here.boot()
            await here.look(one, after=10)
            since = {name: seen.idle_since for name, seen in here.note.memory.machines.items()}
            assert not await here.look(two, after=10)
        # The first has given up: the other leads at once, and knows since when they are idle.
        assert await here.look(two, after=1)
        known = {name: seen.idle_since for name, seen in here.note.memory.machines.items()}
        assert known == since != {}
        assert here.did() == ["start"]
    assert len(here.yard.machines) == 2


@in_a_loop
async def test_a_frozen_scaler_does_nothing_once_another_leads() -> None:
    here = site()
    async with here.scaler("one") as one, here.scaler("two") as two:
        await here.look(one)
        here.clock.advance(31)  # it says nothing for longer than it leads
        here.beat()
        assert await here.look(two)
        here.jobs(3)
        assert not await here.look(one)
        assert here.yard.machines == {}
        await here.look(two, after=1)
        assert len(here.yard.machines) == 3


@in_a_loop
async def test_nothing_is_done_if_the_leadership_lapses_between_snapshot_and_action() -> None:
    here = site()
    here.jobs(3)
    slow = SlowLists(here, 0)
    async with here.scaler(providers={"process": slow}) as scaler:
        await here.look(scaler)
        idle, done, _ = here.boot()
        await here.look(scaler, after=10)
        here.store.set_paused("default", paused=True).result()
        here.store.order(here.agents[done], "drain").result()
        await here.look(scaler, after=10)
        here.goodbye(done)
        here.clock.advance(20)
        slow.seconds = 31
        await here.look(scaler)
        left = here.note.status.events[-3:]
        assert {event.why for event in left} == {
            "no stop: this scaler no longer leads",
            "no drain: this scaler no longer leads",
        }
        assert here.yard.asked == []
        workers = {each.id: each for each in here.store.workers().result()}
        assert not workers[here.agents[idle]].draining


@pytest.mark.parametrize("call", ["create", "list"])
@in_a_loop
async def test_a_slow_provider_does_not_cost_the_leadership(call: str) -> None:
    here = site()
    here.jobs(1)
    leaders: list[str] = []

    async def slowly(*_: Any) -> list[Any]:
        for _ in range(3):
            here.clock.advance(14)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            leaders.append(here.store.lead(NAME, "other", hold=1).result().holder)
        return []

    setattr(here.yard, call, slowly)
    scaler = here.scaler()
    scaler._elector._sleep = lambda _: asyncio.sleep(0)
    async with scaler:
        assert await here.look(scaler)
        assert leaders == ["one"] * 3


@in_a_loop
async def test_a_leadership_ends_here_before_it_does_in_the_store() -> None:
    here = site()

    class Slow:
        def lead(self, *args: Any, **what: Any) -> Any:
            answer = here.store.lead(*args, **what)
            here.clock.advance(20)  # it is long on its way
            return answer

    store: Any = Slow()
    elector = Elector(store, NAME, "one", elapsed=here.clock.now)
    await elector.acquire()
    here.clock.advance(9)
    assert elector.is_leader
    here.clock.advance(1)
    assert not elector.is_leader


@in_a_loop
async def test_nothing_is_done_on_a_snapshot_older_than_two_minutes() -> None:
    here = site()
    here.jobs(3)
    slow = SlowLists(here, 121)
    scaler = here.scaler(providers={"process": slow})
    async with scaler:
        scaler._elector._ttl = 1000.0
        await here.look(scaler)
        assert here.yard.machines == {}
        assert [each.why for each in here.note.status.events] == [
            "no start: the snapshot is older than 120 s"
        ]
        slow.seconds = 119
        await here.look(scaler)
        assert len(here.yard.machines) == 3


class SlowLists:
    """A provider that takes long to list."""

    def __init__(self, here: Site, seconds: float) -> None:
        self.here, self.seconds = here, seconds

    async def list(self) -> Any:
        listed = await self.here.yard.list()
        self.here.clock.advance(self.seconds)
        self.here.beat()
        return listed

    def __getattr__(self, name: str) -> Any:
        return getattr(self.here.yard, name)


@in_a_loop
async def test_the_successor_of_a_killed_scaler_creates_nothing_twice() -> None:
    here = site()
    here.jobs(3)
    async with here.scaler("first") as first:
        here.reach.call = "note_action"
        await here.look(first)
        first._elector._leads_until = float("-inf")  # it gives nothing up: it is killed
    here.reach.call = ""
    here.clock.advance(61)
    async with here.scaler("second") as second:
        await here.look(second, after=0, times=3)
    assert len(here.yard.machines) == 3


@in_a_loop
async def test_actions_that_could_not_be_audited_are_audited_later_once() -> None:
    here = site()
    here.jobs(1)
    async with here.scaler() as scaler:
        here.reach.call = "note_action"
        assert not await here.look(scaler)
        here.reach.call = ""
        await here.look(scaler, after=10, times=2)
    assert [what for what, _ in here.audit()] == ["scale start"]
    assert here.did() == ["start"]


@in_a_loop
async def test_an_agent_that_has_claimed_a_job_meanwhile_stays() -> None:
    here = site()
    here.jobs(1)
    async with here.scaler() as scaler:
        await here.look(scaler)
        [machine] = here.boot()
        await here.look(scaler, after=10)
        # It has claimed, and has not said so yet.
        here.clock.advance(30)
        here.beat()
        here.claim(machine)
        await scaler.run_cycle()
        assert here.did() == ["start", "drain_refused"]
        await here.look(scaler, after=10)
        assert here.note.status.pools[0].busy == 1


@in_a_loop
async def test_the_queues_of_an_agent_are_learned_if_its_pool_names_none() -> None:
    here = site()
    here.jobs(1, queue="elsewhere")
    async with here.scaler() as scaler:
        await here.look(scaler)
        [machine] = here.boot()
        await here.look(scaler, after=10, times=2)
        assert "no pool serves them" in here.note.status.held[0]
        await here.look(scaler, after=10, times=3)
        here.goodbye(machine)
        await here.look(scaler, after=10, times=8)
    assert here.did().count("start") == 1


@in_a_loop
async def test_a_dry_run_changes_nothing() -> None:
    here = site()
    here.jobs(3)
    here.beat()
    store: Any = here.reach
    cycle = await plan_cycle(store, {"process": here.yard}, here.policy, INTERVALS, ScalerState())
    assert [(each.pool, each.count) for each in cycle.plan.starts] == [("plain", 3)]
    assert here.yard.machines == {}
    assert here.store.leader(NAME).result() is None
    assert here.audit() == []


@in_a_loop
async def test_the_scaler_runs_a_cycle_per_interval_until_cancelled() -> None:
    here = site()
    here.jobs(1)
    naps: list[float] = []
    ends = asyncio.Event()

    async def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            ends.set()
            await asyncio.Event().wait()

    here.beat()
    running = asyncio.create_task(here.scaler(sleep=sleep).run())
    await ends.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert naps == [10, 10, 10]
    leader = here.store.leader(NAME).result()
    assert leader is not None
    assert leader.until <= here.clock.now()
    assert len(here.yard.machines) == 1
