"""A trace is replayed in virtual time: what is counted, and what the scaler promises there."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import policy, pool

from conveyor.autoscaler.machine_state import Agent, Busy
from conveyor.autoscaler.plan import Demand, DrainAgent, Plan, StartMachines, StopMachine
from conveyor.autoscaler.policy import Policy
from conveyor.autoscaler.simulate import simulate
from conveyor.autoscaler.workload import Trace, read_trace
from conveyor.errors import UsageError

PLAIN: frozenset[str] = frozenset()
GPU = frozenset({"gpu"})


def trace(*jobs: tuple[float, float], requires: frozenset[str] = PLAIN) -> Trace:
    return Trace([(at, took, 0) for at, took in jobs], (requires,))


def test_one_job_starts_one_machine_which_is_removed_when_idle_long_enough() -> None:
    report = simulate(trace((5, 100)), policy(pool(idle_for=300)), every=10, boot=60)
    # Started at 5 s; there at 65, idle at 165, drained at 465 by the grid, stopped with the next.
    assert (report.jobs, report.started, report.kills, report.unserved) == (1, 1, 0, 0)
    assert report.p50 == 60
    assert report.machine_hours * 3600 == pytest.approx(470)
    assert report.busy_hours * 3600 == pytest.approx(100)


def test_a_started_hour_is_billed() -> None:
    hourly = pool(billing_increment=3600, cost_per_hour=2.0)
    report = simulate(trace((0, 60)), policy(hourly))
    assert report.paid_hours == 1
    assert report.cost == 2
    assert 0.9 < report.machine_hours <= 1


def test_a_job_that_no_machine_can_run_is_counted_and_does_not_block_the_replay() -> None:
    report = simulate(trace((0, 60), requires=GPU), policy(pool()))
    assert (report.jobs, report.unserved, report.started) == (0, 1, 0)


def test_a_replay_ends_even_if_the_cap_lets_no_machine_start() -> None:
    rules = policy(pool(cost_per_hour=2.0), cost_cap=1.0)
    assert simulate(trace((0, 60), (9000, 60)), rules).unserved == 2


def test_a_one_shot_machine_runs_one_job() -> None:
    report = simulate(trace((0, 60), (1, 60), (500, 60)), policy(pool(one_shot=True)))
    assert report.started == 3
    assert report.machine_hours * 3600 == pytest.approx(3 * 130, abs=30)


def test_machines_that_are_kept_are_billed_until_the_end() -> None:
    report = simulate(trace((0, 60)), policy(pool(min=1, idle_for=600)))
    assert report.started == 1
    assert report.machine_hours * 3600 > 660


def test_a_scaler_that_removes_busy_machines_is_detected() -> None:
    def careless(
        waiting: Sequence[Demand], agents: Sequence[Agent], policy: Policy, now: float
    ) -> Plan:
        if now == 100:
            [busy] = [each for each in agents if isinstance(each.state, Busy)]
            return Plan(stops=(StopMachine(busy.machine, "no reason"),))
        return (
            Plan(starts=(StartMachines("plain", 1, "one"),)) if waiting and not agents else Plan()
        )

    report = simulate(trace((0, 300), (1, 300)), policy(pool()), planner=careless)
    assert report.kills == 1
    # It ran again from its beginning, before the other, on a machine that was started at 110 s.
    assert report.longest == 469


def test_a_drained_busy_machine_finishes_its_job_and_claims_no_other() -> None:
    def hasty(
        waiting: Sequence[Demand], agents: Sequence[Agent], policy: Policy, now: float
    ) -> Plan:
        if now == 100:
            return Plan(drains=(DrainAgent(agents[0].machine, "", "no reason"),))
        return (
            Plan(starts=(StartMachines("plain", 1, "one"),))
            if waiting and len(agents) < 2
            else Plan()
        )

    report = simulate(trace((0, 300), (1, 300)), policy(pool()), planner=hasty)
    assert (report.jobs, report.kills, report.started) == (2, 0, 2)


traces = st.lists(
    st.tuples(st.floats(0, 20_000), st.floats(0, 900), st.integers(0, 1)), min_size=1, max_size=120
)
kinds = st.builds(
    pool,
    st.just("plain"),
    slots=st.integers(1, 4),
    max=st.integers(1, 9),
    min_idle=st.integers(0, 1),
    idle_for=st.sampled_from([0.0, 60.0, 600.0]),
    billing_increment=st.sampled_from([0.0, 3600.0]),
)


@settings(max_examples=60)
@given(traces, kinds, st.booleans())
def test_every_job_runs_once_and_no_busy_machine_is_removed(
    jobs: list[tuple[float, float, int]], plain: object, only: bool
) -> None:
    gpu = pool("gpu", labels=("gpu!only" if only else "gpu",), max=3, one_shot=only)
    rules = policy(plain, gpu)
    report = simulate(Trace(sorted(jobs), (PLAIN, GPU)), rules)
    assert (report.jobs, report.unserved, report.kills) == (len(jobs), 0, 0)
    assert report.most <= sum(each.max for each in rules.pools)
    assert report.busy_hours == pytest.approx(sum(took for _, took, _ in jobs) / 3600)


def test_the_number_of_machines_is_stable_under_a_steady_load() -> None:
    chance = random.Random(5)
    steady = trace(*((second, chance.uniform(20, 40)) for second in range(4 * 3600)))
    report = simulate(steady, policy(pool(slots=2, max=100)))
    late = [
        machines
        for at, machines in zip(report.series.at, report.series.machines, strict=True)
        if 2 * 3600 < at < 4 * 3600
    ]
    assert sum(one != other for one, other in pairwise(late)) <= 2


def test_a_trace_is_read_with_its_columns_in_any_order() -> None:
    lines = ["labels,at,duration", "gpu big,2026-03-01T00:00:10+00:00,1m30s", "", ",5,2", "gpu,7,3"]
    assert read_trace(lines) == Trace(
        [(5, 2, 1), (7, 3, 2), (1772323210, 90, 0)],
        (frozenset({"gpu", "big"}), PLAIN, GPU),
    )


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "t.csv has no column 'at'"),
        (["when,duration"], "t.csv has no column 'at'"),
        (["at,labels"], "t.csv has no column 'duration'"),
        (["at,duration"], "t.csv has no jobs"),
        (["at,duration", "1,2", "soon,2"], "t.csv, line 3: invalid job 'soon,2'"),
        (["at,duration", "1"], "t.csv, line 2"),
        (["at,duration", "1,-2"], "a duration must be 0 or more seconds, got '-2'"),
        (["at,duration", "1,nan"], "a duration must be finite, got 'nan'"),
        (["at,duration", "inf,1"], "at must be finite"),
        (["at,duration", "1,long"], "line 2: invalid job '1,long'"),
    ],
)
def test_an_invalid_trace_is_refused_with_the_line_number(lines: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_trace(lines, where="t.csv")
    assert said in str(caught.value)
