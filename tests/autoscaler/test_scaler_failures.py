"""The scaler where agents, servers, stores and providers are away or do not do as they should."""

from __future__ import annotations

import asyncio

import pytest
from machines import policy, pool
from scaler_harness import Reach, Site, in_a_loop, site

from conveyor.autoscaler.provider import ProvisioningState
from conveyor.core.job import State, WorkerInfo
from conveyor.core.page import LISTED, Page
from conveyor.core.pending import Pending
from conveyor.errors import UnavailableError, UsageError
from conveyor.store.messages import Claimant, Want


@in_a_loop
async def test_an_unreachable_server_costs_no_busy_agent_its_machine() -> None:
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
async def test_agents_behind_an_unreachable_server_are_not_lost() -> None:
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
        assert "no server is running" in here.note.status.held[0]
        assert len(here.yard.machines) == 2
        here.served = True
        await here.look(scaler, after=10)
    assert here.yard.asked == []
    assert len(here.yard.machines) == 5


@in_a_loop
async def test_the_scaler_waits_for_an_agent_that_the_store_forgot_in_an_outage() -> None:
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
        here.store.leave(agent).result()  # as maintenance does with silent ones
        await here.look(scaler, after=10, times=5)
        assert here.yard.asked == []
        here.agents[machine] = agent
        await here.look(scaler, after=10, times=2)
        assert here.yard.asked == []
        assert here.note.status.pools[0].idle == 1


@in_a_loop
async def test_a_machine_is_destroyed_when_its_agent_is_silent_and_its_leases_have_expired() -> (
    None
):
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
        # Not before its jobs are somebody else's: it might come back in this moment.
        await here.look(scaler, after=10, times=2)
        assert here.yard.asked == []
        assert here.did()[-1] == "stop_refused"
        here.store.rescue(limit=10).result()
        await here.look(scaler, after=10)
        assert here.yard.asked == [machine]
        stop = next(each for each in here.note.status.events if each.did == "stop")
        assert stop.why == "its agent is silent and its leases have expired"


@in_a_loop
async def test_a_silent_agent_that_returns_while_its_machine_is_destroyed_claims_nothing() -> None:
    here = site()
    here.jobs(1)
    async with here.scaler() as scaler:
        await here.look(scaler)
        [machine] = here.boot()
        here.yard.slow = asyncio.Event()
        agent = here.fall_silent(machine)
        await here.look(scaler, after=10, times=14)
        assert here.yard.asked == [machine]
        assert here.store.order(agent, "drain").result()
        claimant = Claimant(agent, 60.0)
        assert here.store.claim([Want("default", 1)], claimant, limit=1).result().jobs == ()
        here.yard.slow.set()


@in_a_loop
async def test_machines_with_a_lost_create_response_count_until_they_are_listed() -> None:
    here = site(max=3)
    here.jobs(3)
    async with here.scaler() as scaler:
        here.yard.errors["create"] = UnavailableError("no answer")
        await here.look(scaler)
        del here.yard.errors["create"]
        # They come late: nothing else is made in their place.
        await here.look(scaler, after=10, times=2)
        assert here.yard.machines == {}
        await here.yard.create(here.policy.pools[0].spec, 2)
        await here.look(scaler, after=10)
        assert len(here.yard.machines) == 2
        # The third has not come for a minute, and never will.
        await here.look(scaler, after=10, times=6)
        assert len(here.yard.machines) == 3


@in_a_loop
async def test_a_machine_whose_agent_registers_before_its_removal_stays() -> None:
    here = site()
    here.jobs(1)
    asked: list[float] = []

    class Arriving(Reach):
        def workers(self, *, after: str = "", limit: int = LISTED) -> Pending[Page[WorkerInfo]]:
            # Once by each look, and for the second time before anything is taken away.
            if here.clock.now() in asked:
                here.boot()
            asked.append(here.clock.now())
            return self.store.workers(after=after, limit=limit)

    async with here.scaler(store=Arriving(here.store)) as scaler:
        await here.look(scaler)
        await here.look(scaler, after=10, times=12)
        assert "stop_refused" in here.did()
        assert here.yard.asked == []


@in_a_loop
async def test_an_unreachable_provider_gets_no_orders_and_the_others_go_on() -> None:
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
        assert "provider command is unreachable: the cloud is away" in here.note.status.held[0]
        del there.yard.errors["list"]
        await here.look(scaler, after=1)
        assert here.note.status.blind == {}
        # The deadline of the boot was over long ago; one more is started for each job.
        assert len(there.yard.machines) == 3


@in_a_loop
async def test_agents_of_an_unreachable_provider_count_and_are_left_alone() -> None:
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
async def test_a_machine_created_without_a_response_is_found_and_not_created_again() -> None:
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
async def test_a_stale_list_starts_nothing_twice() -> None:
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
async def test_a_provider_that_creates_nothing_is_retried_with_backoff() -> None:
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
        assert "(no such image); next attempt in" in here.note.status.held[0]
        assert here.note.memory.troubles["plain"].failures == sum(asked)
        del here.yard.errors["create"]
        await here.look(scaler, after=600)
        here.boot()
        await here.look(scaler, after=10)
        assert here.note.memory.troubles == {}


@in_a_loop
async def test_a_machine_whose_agent_does_not_register_is_replaced() -> None:
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
async def test_a_machine_that_cannot_be_destroyed_is_not_forgotten() -> None:
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


@pytest.mark.parametrize("says", ["stopping", "running"])
@pytest.mark.parametrize("looks", [15, 40])
@in_a_loop
async def test_a_destroy_in_progress_is_requested_again_only_after_minutes(
    says: ProvisioningState, looks: int
) -> None:
    here = site()
    here.jobs(1)
    async with here.scaler() as scaler:
        await here.look(scaler)
        [machine] = here.boot()
        await here.look(scaler, after=10)
        here.store.set_paused("default", paused=True).result()
        here.goodbye(machine)
        here.yard.slow = asyncio.Event()
        await here.look(scaler, after=10, times=looks)
        assert here.yard.asked == [machine]
    # The scaler has ended in the middle. The next one asks again, though not at once.
    here.yard.become(machine, state=says)
    here.yard.slow = None
    async with here.scaler("two") as scaler:
        await here.look(scaler, after=10, times=max(0, 18 - looks))
        assert here.yard.asked == [machine]
        await here.look(scaler, after=10, times=8)
    assert here.yard.asked == [machine] * 2
    assert here.yard.machines == {}


@in_a_loop
async def test_an_agent_without_a_machine_is_drained_and_forgotten_when_silent() -> None:
    here = site()
    here.jobs(1)
    async with here.scaler() as scaler:
        await here.look(scaler)
        [machine] = here.boot()
        here.claim(machine)
        del here.yard.machines[machine]  # somebody has removed it from the list
        agent = here.agents[machine]
        await here.look(scaler, after=10, times=20)
        assert here.did() == ["start"]  # it is busy
        here.store.rescue(dead=[agent], limit=10).result()
        here.store.set_paused("default", paused=True).result()
        await here.look(scaler, after=10, times=2)
        drain = here.note.status.events[-1]
        assert (drain.did, drain.subject) == ("drain", agent)
        assert drain.why == "its machine has been missing for 120 s"
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
async def test_an_unreachable_store_is_survived_and_a_bug_is_raised() -> None:
    here = site()
    async with here.scaler() as scaler:
        here.reach.away = True
        assert not await here.look(scaler)
        here.reach.away = False
        here.yard.errors["list"] = ZeroDivisionError()  # type: ignore[assignment]
        with pytest.raises(ExceptionGroup):
            await here.look(scaler)
