"""What holds of every decision, whatever waits and however the machines stand."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import NOW, World, drained, jobs, policy, pool, stopped

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
from conveyor.autoscaler.plan import Demand
from conveyor.autoscaler.planner import make_plan
from conveyor.autoscaler.policy import Policy, Pool
from conveyor.core.labels import serves

pytestmark = pytest.mark.computes

LABELS = st.sampled_from(["gpu", "big", "linux"])
NAMES = ["one", "two", "three"]

standings: st.SearchStrategy[MachineState] = st.one_of(
    st.just(Booting()),
    st.builds(Idle, st.floats(NOW - 5000, NOW)),
    st.builds(Busy, st.integers(1, 4)),
    st.builds(Quiet, st.integers(0, 4)),
    st.builds(Draining, st.integers(0, 4)),
    st.just(Drained()),
    st.builds(Lost, st.floats(NOW - 60, NOW + 60)),
    st.just(NeverRegistered()),
    st.builds(Errored, st.just("")),
    st.just(Stopping()),
    st.just(Gone()),
)
demands = st.lists(
    st.builds(Demand, st.integers(0, 30), st.frozensets(LABELS, max_size=2)), max_size=4
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    pools: list[Pool] = []
    for name in NAMES[: draw(st.integers(1, 3))]:
        labels = draw(st.lists(LABELS, max_size=2, unique=True))
        only = draw(st.booleans())
        most = draw(st.integers(1, 12))
        slots = draw(st.integers(1, 4))
        pools.append(
            pool(
                name,
                labels=tuple(f"{label}!only" if only else label for label in labels),
                slots=slots,
                max=most,
                min=draw(st.integers(0, most)),
                min_idle=draw(st.integers(0, most * slots)),
                idle_for=draw(st.sampled_from([0.0, 60.0, 600.0])),
                step_up=draw(st.none() | st.integers(1, 5)),
                step_down=draw(st.none() | st.integers(1, 5)),
                billing_increment=draw(st.sampled_from([0.0, 3600.0])),
                cost_per_hour=draw(st.sampled_from([0.1, 1.0, 7.5])),
            )
        )
    return policy(*pools, cost_cap=draw(st.none() | st.floats(0, 40)))


@st.composite
def fleets(draw: st.DrawFn, rules: Policy) -> list[Agent]:
    """Machines of the policy's pools, none of which has more than it may."""
    agents: list[Agent] = []
    for each in rules.pools:
        for number in range(draw(st.integers(0, each.max))):
            agents.append(
                Agent(
                    machine=f"{each.name} {number}",
                    pool=each.name,
                    created_at=NOW - draw(st.floats(0, 8000)),
                    state=draw(standings),
                    slots=each.slots,
                    labels=frozenset(each.spec.labels),
                )
            )
    return agents


@st.composite
def scenes(draw: st.DrawFn) -> tuple[list[Demand], list[Agent], Policy]:
    rules = draw(policies())
    return draw(demands), draw(fleets(rules)), rules


def cost(agents: list[Agent], rules: Policy) -> float:
    prices = {each.name: each.cost_per_hour for each in rules.pools}
    return sum(prices[each.pool] for each in agents if not isinstance(each.state, Gone))


@given(scenes())
def test_there_are_never_more_machines_than_the_maximum(
    scene: tuple[list[Demand], list[Agent], Policy],
) -> None:
    waiting, agents, rules = scene
    plan = make_plan(waiting, agents, rules, NOW)
    there = Counter(each.pool for each in agents if not isinstance(each.state, Gone | Errored))
    there.update({start.pool: start.count for start in plan.starts})
    assert all(there[each.name] <= each.max for each in rules.pools)
    for start in plan.starts:
        [limits] = [each for each in rules.pools if each.name == start.pool]
        assert 0 < start.count <= (limits.step_up or start.count)


@given(scenes())
def test_starts_never_cost_more_than_the_cap_with_all_that_may_be_billed(
    scene: tuple[list[Demand], list[Agent], Policy],
) -> None:
    waiting, agents, rules = scene
    plan = make_plan(waiting, agents, rules, NOW)
    if rules.cost_cap is not None and plan.starts:
        prices = {each.name: each.cost_per_hour for each in rules.pools}
        added = sum(prices[start.pool] * start.count for start in plan.starts)
        assert cost(agents, rules) + added <= rules.cost_cap + 1e-6


@given(scenes())
def test_no_busy_agent_is_drained_and_no_machine_with_an_agent_stopped(
    scene: tuple[list[Demand], list[Agent], Policy],
) -> None:
    waiting, agents, rules = scene
    plan = make_plan(waiting, agents, rules, NOW)
    stands = {each.machine: each for each in agents}
    for name in drained(plan):
        assert isinstance(stands[name].state, Idle)
    for name in stopped(plan):
        match stands[name].state:
            case Drained() | NeverRegistered() | Errored():
                pass
            case Lost(lease_over_at):
                assert lease_over_at <= NOW
            case Booting():
                assert NOW - stands[name].created_at > 300
            case state:
                raise AssertionError(state)
    assert not set(drained(plan)) & set(stopped(plan))


@given(scenes())
def test_a_drain_leaves_the_minimum_and_the_free_slots_that_are_to_be_kept(
    scene: tuple[list[Demand], list[Agent], Policy],
) -> None:
    waiting, agents, rules = scene
    plan = make_plan(waiting, agents, rules, NOW)
    gone = Counter(name.split()[0] for name in drained(plan))
    for tally, limits in zip(plan.pools, rules.pools, strict=True):
        assert gone[tally.pool] <= (limits.step_down or gone[tally.pool])
        if gone[tally.pool]:
            assert tally.wanted >= limits.min


@given(scenes())
def test_a_machine_starts_only_for_what_it_can_run(
    scene: tuple[list[Demand], list[Agent], Policy],
) -> None:
    waiting, agents, rules = scene
    plan = make_plan(waiting, agents, rules, NOW)
    for start in plan.starts:
        [limits] = [each for each in rules.pools if each.name == start.pool]
        if not limits.min and not limits.min_idle:
            assert any(
                demand.count and serves(frozenset(limits.spec.labels), demand.requires)
                for demand in waiting
            )


@given(scenes(), st.integers(1, 40))
def test_a_step_is_answered_within_one_look(
    scene: tuple[list[Demand], list[Agent], Policy], step: int
) -> None:
    _, agents, rules = scene
    # The pool alone, and nothing that limits it but its maximum.
    only = pool("alone", labels=("mine!only",), slots=2, max=100)
    plan = make_plan([jobs(step, "mine")], agents, policy(only, *rules.pools), NOW)
    assert {start.pool: start.count for start in plan.starts}["alone"] == -(-step // 2)


@given(scenes())
def test_machines_that_obey_reach_a_stable_number(
    scene: tuple[list[Demand], list[Agent], Policy],
) -> None:
    waiting, agents, rules = scene
    gone = (Gone, Stopping, Draining, Lost, Errored)
    world = World(rules, [each for each in agents if not isinstance(each.state, gone)])
    # What waits keeps waiting: whatever can be started for it is, and then nothing changes.
    plans = [world.look(*waiting) for _ in range(1100)]
    for plan in plans[-300:]:
        assert not plan.starts
        assert not plan.drains
        assert not plan.stops


@given(policies(), st.integers(0, 20), st.integers(0, 7))
def test_a_steady_load_neither_starts_nor_drains_machines(
    rules: Policy, running: int, waiting: int
) -> None:
    world = World(rules)
    load = [jobs(waiting), jobs(running, "gpu")]
    # Half an hour to settle, with what was started for the load and the longest idleness.
    for _ in range(500):
        world.look(*load)
    before = set(world.agents)
    for _ in range(100):
        plan = world.look(*load)
        assert not plan.starts
        assert not plan.drains
    assert set(world.agents) == before


@given(scenes())
def test_the_order_in_which_machines_are_listed_does_not_matter(
    scene: tuple[list[Demand], list[Agent], Policy],
) -> None:
    waiting, agents, rules = scene
    plan, back = (make_plan(waiting, order, rules, NOW) for order in (agents, agents[::-1]))
    assert plan.starts == back.starts
    assert set(plan.drains) == set(back.drains)
    assert set(plan.stops) == set(back.stops)
