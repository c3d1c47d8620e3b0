"""The scaler's loop, with a clock that stands still, over a store and a yard in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import pytest
from machines import policy, pool
from yard import NAME, TIMES, Site

from conveyor.errors import UnavailableError, UsageError
from conveyor.job import State
from conveyor.scaling.memory import Memory
from conveyor.scaling.scaler import survey

Test = Callable[..., Awaitable[None]]


def in_a_loop(test: Test) -> Callable[..., None]:
    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def site(**options: Any) -> Site:
    return Site(policy(pool(**{"max": 5, "idle_for": 30.0, "boot_deadline": 100.0, **options})))


@in_a_loop
async def test_machines_come_with_the_work_and_go_when_they_were_idle() -> None:
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
async def test_every_act_is_in_the_audit_and_in_the_log_with_its_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    here = site()
    here.jobs(2)
    with caplog.at_level(logging.INFO):
        async with here.scaler() as scaler:
            await here.look(scaler)
    assert here.audit() == [("scale start", "2: 2 jobs on queue 'default' without a free slot")]
    [action] = here.store.actions(limit=10).result()
    assert (action.who, action.subject) == ("scaler one", "plain")
    line = "scale.start pool=plain count=2 why=2 jobs on queue 'default' without a free slot"
    assert line in [record.message for record in caplog.records]


@in_a_loop
async def test_one_of_two_acts_and_the_other_goes_on_where_that_stopped() -> None:
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
async def test_one_that_was_frozen_does_nothing_once_another_leads() -> None:
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
async def test_nothing_is_done_when_the_leadership_lapses_between_a_look_and_an_act() -> None:
    here = site()
    here.jobs(3)
    slow = SlowLists(here, 31)
    async with here.scaler(providers={"process": slow}) as scaler:
        await here.look(scaler)
    assert here.yard.machines == {}
    assert [event.why for event in here.note.status.events] == [
        "no start: it does not lead any more"
    ]


@in_a_loop
async def test_nothing_is_done_on_what_was_seen_more_than_two_minutes_ago() -> None:
    here = site()
    here.jobs(3)
    slow = SlowLists(here, 121)
    scaler = here.scaler(providers={"process": slow})
    async with scaler:
        scaler._leadership._hold = 1000.0
        await here.look(scaler)
        assert here.yard.machines == {}
        assert [each.why for each in here.note.status.events] == [
            "no start: what was seen is older than 120 s"
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
async def test_the_heir_of_a_scaler_that_was_killed_in_the_middle_makes_nothing_twice() -> None:
    here = site()
    here.jobs(3)
    async with here.scaler("first") as first:
        here.reach.call = "note_action"
        await here.look(first)
        first._leadership._until = float("-inf")  # it gives nothing up: it is killed
    here.reach.call = ""
    here.clock.advance(61)
    async with here.scaler("second") as second:
        await here.look(second, after=0, times=3)
    assert len(here.yard.machines) == 3


@in_a_loop
async def test_what_could_not_be_told_the_audit_is_told_it_later_once() -> None:
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
async def test_a_server_that_was_away_costs_no_busy_agent_its_machine() -> None:
    here = site()
    here.jobs(2)
    async with here.scaler() as scaler:
        await here.look(scaler)
        machines = here.boot()
        for machine in machines:
            here.claim(machine)
        await here.look(scaler, after=10)
        # The store is out of everybody's reach for ten minutes.
        here.reach.away, here.served = True, False
        await here.look(scaler, after=10, times=60)
        here.reach.away = False
        # The scaler is back before the agents are.
        here.store.rescue(limit=10).result()
        here.served = True
        agents, here.agents = here.agents, {}
        await here.look(scaler, after=1)
        await here.look(scaler, after=10, times=5)
        here.agents = agents
        await here.look(scaler, after=10, times=3)
    assert here.yard.asked == []
    assert here.yard.machines.keys() >= set(machines)
    # Their jobs were given back meanwhile, and somebody has to run them.
    assert here.did() == ["start", "start"]


@in_a_loop
async def test_agents_that_only_a_server_could_hear_are_not_lost_while_there_is_none() -> None:
    here = site()
    here.jobs(2)
    async with here.scaler() as scaler:
        await here.look(scaler)
        here.boot()
        await here.look(scaler, after=10)
        # The scaler is beside the store, and sees all; the server alone is away.
        here.served = False
        await here.look(scaler, after=10, times=6)
        here.jobs(3)
        await here.look(scaler, after=10, times=60)
        assert here.yard.asked == []
        assert "no server is heard from" in here.note.status.held[0]
        assert len(here.yard.machines) == 2
        here.served = True
        await here.look(scaler, after=10)
    assert here.yard.asked == []
    assert len(here.yard.machines) == 5


@in_a_loop
async def test_an_agent_that_the_store_has_forgotten_in_an_outage_is_waited_for() -> None:
    here = site()
    here.jobs(1)
    async with here.scaler() as scaler:
        await here.look(scaler)
        [machine] = here.boot()
        await here.look(scaler, after=10)
        here.reach.away = True
        await here.look(scaler, after=10, times=70)
        here.reach.away = False
        agent = here.fall_silent(machine)
        here.store.leave(agent).result()  # as the upkeep does with those it has not heard
        await here.look(scaler, after=10, times=5)
        assert here.yard.asked == []
        here.agents[machine] = agent
        await here.look(scaler, after=10, times=2)
        assert here.yard.asked == []
        assert here.note.status.pools[0].idle == 1


@in_a_loop
async def test_a_machine_is_stopped_when_its_agent_is_silent_and_the_leases_are_over() -> None:
    here = site()
    here.jobs(1)
    async with here.scaler() as scaler:
        await here.look(scaler)
        [machine] = here.boot()
        here.claim(machine)
        await here.look(scaler, after=10)
        here.fall_silent(machine)
        await here.look(scaler, after=10, times=11)
        assert here.yard.asked == []
        await here.look(scaler, after=10, times=2)
        assert here.yard.asked == [machine]
        stop = next(each for each in here.note.status.events if each.did == "stop")
        assert stop.why == "its agent is silent and its leases are over"


@in_a_loop
async def test_a_provider_that_is_away_gets_no_start_and_no_stop_and_the_others_go_on() -> None:
    kinds = pool("plain", max=3), pool("gpu", max=3, labels=("gpu!only",), provider="command")
    here = Site(policy(*kinds))
    there = Site(policy(*kinds))
    there.yard.clock = here.clock
    both = {"process": here.yard, "command": there.yard}
    async with here.scaler(providers=both) as scaler:
        here.jobs(1, "gpu")
        await here.look(scaler)
        assert len(there.yard.machines) == 1
        there.yard.errors["list"] = UnavailableError("the cloud is away")
        here.jobs(2, "gpu")
        here.jobs(1)
        await here.look(scaler, after=10, times=15)
        assert len(there.yard.machines) == 1
        assert len(here.yard.machines) == 1
        assert here.note.status.blind == {"command": "the cloud is away"}
        assert "its provider command cannot be asked: the cloud is away" in here.note.status.held[0]
        del there.yard.errors["list"]
        await here.look(scaler, after=1)
        assert here.note.status.blind == {}
        # The deadline of the boot was over long ago; one more is started for each job.
        assert len(there.yard.machines) == 3


@in_a_loop
async def test_agents_of_a_provider_that_is_away_count_and_are_left_alone() -> None:
    here = site()
    here.jobs(1)
    async with here.scaler() as scaler:
        await here.look(scaler)
        here.boot()
        here.yard.errors["list"] = UnavailableError("away")
        await here.look(scaler, after=10, times=20)
        assert here.note.status.held == ()
        del here.yard.errors["list"]
        await here.look(scaler, after=10)
        assert here.did() == ["start"]


@in_a_loop
async def test_a_machine_that_was_made_without_an_answer_is_found_and_not_made_again() -> None:
    here = site()
    here.jobs(2)
    here.yard.unanswered = True
    async with here.scaler() as scaler:
        await here.look(scaler)
        here.yard.unanswered = False
        await here.look(scaler, after=10, times=3)
        assert here.did() == ["start_failed"]
    assert len(here.yard.machines) == 2


@in_a_loop
async def test_a_list_that_is_behind_starts_nothing_twice() -> None:
    here = site()
    here.jobs(2)
    here.yard.unlisted = True
    async with here.scaler() as scaler:
        await here.look(scaler, after=10, times=6)
        assert here.did() == ["start"]
        here.yard.unlisted = False
        await here.look(scaler, after=10, times=3)
        assert here.did() == ["start"]


@in_a_loop
async def test_a_provider_that_makes_nothing_is_asked_ever_less_often() -> None:
    here = site()
    here.jobs(1)
    here.yard.errors["create"] = UsageError("no such image")
    async with here.scaler() as scaler:
        asked: list[int] = []
        for _ in range(16):
            await here.look(scaler, after=10, times=6)
            asked.append(here.did().count("start_failed") - sum(asked))
        assert asked[0] == 3
        assert sum(asked) < 10
        assert "(no such image); the next try is in" in here.note.status.held[0]
        assert here.note.memory.troubles["plain"].failures == sum(asked)
        del here.yard.errors["create"]
        await here.look(scaler, after=600)
        here.boot()
        await here.look(scaler, after=10)
        assert here.note.memory.troubles == {}


@in_a_loop
async def test_a_machine_whose_agent_does_not_come_is_taken_away_and_another_one_started() -> None:
    here = site()
    here.jobs(1)
    async with here.scaler() as scaler:
        await here.look(scaler)
        [first] = here.yard.machines
        await here.look(scaler, after=10, times=11)
        assert here.yard.asked == [first]
        await here.look(scaler, after=10, times=2)
        assert len(here.yard.machines) == 1
        assert first not in here.yard.machines
        here.boot()
        await here.look(scaler, after=10)
    assert here.did() == ["start", "stop", "stopped", "start"]


@in_a_loop
async def test_an_agent_that_has_taken_a_job_meanwhile_stays() -> None:
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
        await scaler.round()
        assert here.did() == ["start", "drain_refused"]
        await here.look(scaler, after=10)
        assert here.note.status.pools[0].busy == 1


@in_a_loop
async def test_a_machine_that_cannot_be_taken_away_is_not_forgotten() -> None:
    here = site()
    here.jobs(1)
    async with here.scaler() as scaler:
        await here.look(scaler)
        [machine] = here.boot()
        await here.look(scaler, after=10)
        here.goodbye(machine)
        here.store.set_paused("default", paused=True).result()
        here.yard.errors["destroy"] = UnavailableError("the cloud says no")
        await here.look(scaler, after=10, times=12)
        tried = len(here.yard.asked)
        assert tried > 3
        assert machine in here.yard.machines
        assert here.did().count("stop_failed") >= tried - 1
        del here.yard.errors["destroy"]
        await here.look(scaler, after=10, times=2)
    assert here.yard.machines == {}


@in_a_loop
async def test_a_machine_that_is_being_taken_away_is_asked_for_once_and_again_after_minutes() -> (
    None
):
    here = site()
    here.jobs(1)
    async with here.scaler() as scaler:
        await here.look(scaler)
        [machine] = here.boot()
        await here.look(scaler, after=10)
        here.store.set_paused("default", paused=True).result()
        here.goodbye(machine)
        here.yard.slow = asyncio.Event()
        await here.look(scaler, after=10, times=12)
        assert here.yard.asked == [machine]
    # The scaler has ended in the middle. The next one asks again, though not at once.
    here.yard.become(machine, state="stopping")
    here.yard.slow = None
    async with here.scaler("two") as scaler:
        await here.look(scaler, after=10)
        assert here.yard.asked == [machine]
        await here.look(scaler, after=10, times=18)
    assert here.yard.asked == [machine] * 2
    assert here.yard.machines == {}


@in_a_loop
async def test_an_agent_without_a_machine_is_told_to_drain_and_forgotten_when_silent() -> None:
    here = site()
    here.jobs(1)
    async with here.scaler() as scaler:
        await here.look(scaler)
        [machine] = here.boot()
        here.claim(machine)
        del here.yard.machines[machine]  # somebody has removed it from the list
        agent = here.agents[machine]
        await here.look(scaler, after=10, times=20)
        assert "drain" not in here.did()  # it is busy
        here.store.rescue(dead=[agent], limit=10).result()
        here.store.set_paused("default", paused=True).result()
        await here.look(scaler, after=10, times=2)
        drain = here.note.status.events[-1]
        assert (drain.did, drain.subject) == ("drain", agent)
        assert drain.why == "its machine was not there for 120 s"
        here.fall_silent(machine)
        await here.look(scaler, after=10, times=13)
        assert here.did()[-1] == "forget"
        assert [each.id for each in here.store.workers().result()] == ["server-1"]


@in_a_loop
async def test_a_silent_agent_that_holds_jobs_is_not_forgotten() -> None:
    here = site()
    here.jobs(1)
    async with here.scaler() as scaler:
        await here.look(scaler)
        [machine] = here.boot()
        job = here.claim(machine)
        await here.look(scaler, after=10)
        here.fall_silent(machine)
        here.yard.become(machine, state="gone")
        await here.look(scaler, after=10, times=16)
        assert "forget_refused" in here.did()
        assert here.store.get(job).result().state is State.RUNNING
        here.store.rescue(limit=10).result()
        await here.look(scaler, after=10)
        assert here.did()[-2:] != ["forget_refused", "forget_refused"]
        assert "forget" in here.did()


@in_a_loop
async def test_what_an_agent_serves_is_learned_when_its_pool_does_not_say() -> None:
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
async def test_a_dry_run_only_looks() -> None:
    here = site()
    here.jobs(3)
    here.beat()
    store: Any = here.reach
    looked = await survey(store, {"process": here.yard}, here.policy, TIMES, Memory())
    assert [(each.pool, each.count) for each in looked.plan.starts] == [("plain", 3)]
    assert here.yard.machines == {}
    assert here.store.leader(NAME).result() is None
    assert here.audit() == []


@in_a_loop
async def test_a_store_that_is_away_ends_no_round_with_an_error_and_a_bug_does() -> None:
    here = site()
    async with here.scaler() as scaler:
        here.reach.away = True
        assert not await here.look(scaler)
        here.reach.away = False
        here.yard.errors["list"] = ZeroDivisionError()  # type: ignore[assignment]
        with pytest.raises(ExceptionGroup):
            await here.look(scaler)


@in_a_loop
async def test_it_looks_again_after_its_interval_until_it_is_cancelled() -> None:
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
