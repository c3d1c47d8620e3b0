"""What the scaler decides, as tables: what starts machines, what lets them go, and what never."""

from __future__ import annotations

from typing import Any

import pytest
from machines import NOW, agent, drained, idle, jobs, policy, pool, started, stopped

from conveyor.autoscaler.machine_state import (
    Agent,
    Booting,
    Busy,
    Drained,
    Draining,
    Errored,
    Gone,
    Idle,
    Lost,
    MachineState,
    NeverRegistered,
    Quiet,
    Stopping,
)
from conveyor.autoscaler.plan import Demand, PoolCounts
from conveyor.autoscaler.planner import make_plan

GPU = pool("gpu", labels=("gpu",), cost_per_hour=3.0)
PLAIN = pool("plain", cost_per_hour=1.0)
BOTH = policy(PLAIN, GPU)


@pytest.mark.parametrize(
    ("waiting", "agents", "options", "starts"),
    [
        (0, [], {}, 0),
        (1, [], {}, 1),
        (5, [], {"slots": 2}, 3),
        (50, [], {}, 10),  # never above the maximum
        (50, [], {"step_up": 4}, 4),
        (0, [], {"min": 2}, 2),
        (2, [], {"min": 2}, 2),  # what the minimum starts serves what waits
        (0, [], {"min_idle": 3, "slots": 2}, 2),
        (2, [], {"min_idle": 1}, 3),
        (2, [agent(idle(0))], {}, 1),
        (2, [agent(Busy(1))], {}, 2),
        (2, [agent(Busy(1), slots=4)], {"slots": 4}, 0),
        (2, [agent(Booting(), age=10)], {}, 1),
        (1, [agent(Booting(), age=301)], {}, 1),  # past the boot deadline
        (1, [agent(Quiet(0))], {}, 1),
        (1, [agent(Draining(1))], {}, 1),
        (1, [agent(Drained())], {}, 1),
        (1, [agent(Lost(NOW + 60))], {}, 1),
        (1, [agent(Stopping())], {}, 1),
        (1, [agent(Errored())], {}, 1),
        (9, [agent(Draining(1))] * 4, {}, 6),  # those are there still
        (99, [agent(Errored()), agent(Gone())], {}, 10),  # these stand in nobody's way
        (1, [agent(Busy(1))], {"one_shot": True}, 1),
        (1, [agent(idle(9), pool="")], {}, 0),  # an agent that nobody scales serves too
        (1, [agent(Lost(NOW - 1), pool="")], {}, 1),
        (1, [agent(Busy(3), slots=2)], {}, 1),  # it was given fewer slots than it runs jobs
    ],
)
def test_machines_start_for_jobs_that_find_no_slot(
    waiting: int, agents: list[Agent], options: dict[str, Any], starts: int
) -> None:
    plan = make_plan([jobs(waiting)], agents, policy(pool(**options)), NOW)
    assert sum(started(plan).values()) == starts


@pytest.mark.parametrize(
    ("waiting", "agents", "starts"),
    [
        ([jobs(2, "gpu")], [], {"gpu": 2}),
        ([jobs(2)], [], {"plain": 2}),
        ([jobs(1), jobs(1, "gpu")], [], {"plain": 1, "gpu": 1}),
        # A plain machine's idleness never hides a job that requires more.
        ([jobs(1, "gpu")], [agent(idle(0))], {"gpu": 1}),
        # Whatever needs nothing leaves the special machine to what needs it, in either order.
        ([jobs(1), jobs(1, "gpu")], [agent(idle(0), pool="gpu", labels=["gpu"])], {"plain": 1}),
        ([jobs(1, "gpu"), jobs(1)], [agent(idle(0), pool="gpu", labels=["gpu"])], {"plain": 1}),
        # A slot that nothing else needs does for plain work.
        ([jobs(1)], [agent(idle(0), pool="gpu", labels=["gpu"])], {}),
        ([jobs(1)], [agent(idle(0), pool="gpu", labels=["gpu!only"])], {"plain": 1}),
        ([jobs(1, "tpu")], [agent(idle(0))], {}),
    ],
)
def test_what_a_job_requires_decides_which_machines_start(
    waiting: list[Demand], agents: list[Agent], starts: dict[str, int]
) -> None:
    assert started(make_plan(waiting, agents, BOTH, NOW)) == starts


def test_machines_of_certain_queues_start_only_for_those() -> None:
    rules = policy(pool("mail", queues=("mail",)), pool("any", cost_per_hour=9.0))
    assert started(make_plan([jobs(1, queue="mail")], [], rules, NOW)) == {"mail": 1}
    assert started(make_plan([jobs(1, queue="build")], [], rules, NOW)) == {"any": 1}


def test_the_cheapest_pool_is_used_until_it_is_at_its_maximum() -> None:
    rules = policy(pool("dear", cost_per_hour=2.0), pool("spot", max=2, slots=4, cost_per_hour=1.0))
    assert started(make_plan([jobs(11)], [], rules, NOW)) == {"spot": 2, "dear": 3}


def test_a_pool_in_backoff_gets_no_machine_and_another_pool_does() -> None:
    kinds = policy(pool("cheap", cost_per_hour=1), pool("dear", cost_per_hour=2, max=1))
    barred = {"cheap": "its provider is away"}
    plan = make_plan([jobs(2)], [], kinds, NOW, barred)
    assert started(plan) == {"dear": 1}
    assert plan.held == (
        "2 jobs without a free slot; pool 'cheap' gets 0 of 2: its provider is away",
        "2 jobs without a free slot; pool 'dear' gets 1 of 2: max is 1",
    )


def test_demand_that_is_not_met_has_a_reason() -> None:
    rules = policy(pool(max=2))
    assert make_plan([jobs(5), jobs(1, "tpu", queue="q")], [], rules, NOW).held == (
        "1 job requiring tpu on queue 'q' without a free slot; no pool serves them",
        "5 jobs without a free slot; pool 'plain' gets 2 of 5: max is 2",
    )


@pytest.mark.parametrize(
    ("state", "age", "options", "goes"),
    [
        (idle(600), 5000, {}, True),
        (idle(599), 5000, {}, False),
        (idle(60), 5000, {"idle_for": 60}, True),
        (idle(600), 5000, {"min_age": 6000}, False),
        (idle(600), 5000, {"min": 1}, False),
        (idle(600), 5000, {"min_idle": 1}, False),
        # An hour that is paid is used until its last minutes.
        (idle(900), 3000, {"billing_increment": 3600}, False),
        (idle(900), 3300, {"billing_increment": 3600}, True),
        (idle(900), 3700, {"billing_increment": 3600}, False),
        (idle(900), 7190, {"billing_increment": 3600}, True),
        (Busy(1), 5000, {}, False),
        (Booting(), 100, {}, False),
        (Quiet(0), 5000, {}, False),
        (Lost(NOW + 1), 5000, {}, False),
    ],
)
def test_only_a_machine_that_has_been_idle_long_enough_is_drained(
    state: MachineState, age: float, options: dict[str, Any], goes: bool
) -> None:
    plan = make_plan([], [agent(state, age=age)], policy(pool(**options)), NOW)
    assert drained(plan) == (["m1"] if goes else [])
    assert stopped(plan) == []


def test_an_idle_machine_that_a_waiting_job_needs_stays() -> None:
    two = [agent(idle(700), "a"), agent(idle(900), "b")]
    assert drained(make_plan([jobs(1)], two, policy(), NOW)) == ["b"]
    assert drained(make_plan([jobs(2)], two, policy(), NOW)) == []


def test_an_agent_that_no_scaler_created_is_left_alone() -> None:
    others = [agent(idle(9000), "", pool=""), agent(Drained(), "", pool="")]
    plan = make_plan([], others, policy(), NOW)
    assert (plan.drains, plan.stops, len(plan.pools)) == ((), (), 1)


def test_a_job_is_assigned_to_the_least_versatile_machine() -> None:
    rules = policy(pool("both", labels=("a", "b")), pool("a", labels=("a",)), pool("b", labels="b"))
    free = [
        agent(idle(0), "1", pool="both", labels=["a", "b"]),
        agent(idle(0), "2", pool="a", labels=["a"]),
    ]
    assert started(make_plan([jobs(1, "a"), jobs(1, "b")], free, rules, NOW)) == {}


def test_the_number_of_machines_drained_at_once_is_limited() -> None:
    many = [agent(idle(700), str(number)) for number in range(5)]
    assert len(make_plan([], many, policy(pool(step_down=2)), NOW).drains) == 2


def test_a_machine_of_a_removed_pool_is_drained_when_idle() -> None:
    left = [agent(idle(700), "a", pool="old"), agent(Busy(1), "b", pool="old")]
    plan = make_plan([], left, policy(), NOW)
    assert drained(plan) == ["a"]
    assert plan.pools[-1] == PoolCounts(pool="old", wanted=1, idle=1, busy=1)


@pytest.mark.parametrize(
    ("state", "age", "why"),
    [
        (Drained(), 900, "its agent has left"),
        (Lost(NOW - 1), 900, "its agent is silent and its leases have expired"),
        (Lost(NOW + 1), 900, None),
        (Booting(), 301, "its agent did not register within 300 s"),
        (Booting(), 300, None),
        (NeverRegistered(), 301, "its agent did not register within 300 s"),
        (Errored("no quota"), 10, "its provider reports a failure: no quota"),
        (Errored(), 10, "it failed to start"),
        (Busy(1), 1e9, None),
        (Idle(0), 1e9, None),
        (Quiet(0), 1e9, None),
        (Draining(0), 1e9, None),
        (Stopping(), 1e9, None),
        (Gone(), 1e9, None),
    ],
)
def test_a_machine_is_destroyed_only_when_no_job_runs_there(
    state: MachineState, age: float, why: str | None
) -> None:
    plan = make_plan([], [agent(state, age=age)], policy(), NOW)
    assert [stop.why for stop in plan.stops] == ([why] if why else [])


@pytest.mark.parametrize(
    "state", [Booting(), Busy(1), Quiet(0), Draining(1), Lost(NOW + 9), Stopping(), Errored()]
)
def test_the_cost_cap_counts_every_machine_that_may_be_billed(state: MachineState) -> None:
    rules = policy(pool(cost_per_hour=1.0), cost_cap=3.0)
    plan = make_plan([jobs(9)], [agent(state, age=10)], rules, NOW)
    assert started(plan) == {"plain": 2}
    assert plan.held[0].endswith("cost_cap is 3 an hour")


def test_the_cost_cap_is_one_for_all_pools() -> None:
    rules = policy(
        pool("a", labels=("a",), cost_per_hour=0.1),
        pool("b", labels=("b",), cost_per_hour=0.2),
        cost_cap=0.7,
    )
    plan = make_plan([jobs(5, "a"), jobs(5, "b")], [], rules, NOW)
    assert started(plan) == {"a": 5, "b": 1}


def test_a_plan_describes_each_pool() -> None:
    agents = [
        agent(state, str(number), age=10)
        for number, state in enumerate(
            [Booting(), idle(0), Busy(1), Draining(1), Quiet(0), Errored(), Gone()]
        )
    ]
    [tally] = make_plan([jobs(3)], agents, policy(), NOW).pools
    assert tally == PoolCounts(
        pool="plain", wanted=4, booting=1, idle=1, busy=1, draining=1, other=2
    )


def test_a_start_and_a_drain_have_a_reason() -> None:
    plan = make_plan([jobs(2, "gpu")], [agent(idle(640))], BOTH, NOW)
    assert plan.starts[0].why == "2 jobs requiring gpu without a free slot"
    assert plan.drains[0].why == "idle for 640 s and not needed by waiting jobs"
    assert plan.drains[0].worker == "worker on m1"
