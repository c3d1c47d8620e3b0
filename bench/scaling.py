"""Conveyor's scaler beside the published rules of four others, on the same jobs in virtual time.

`python bench/scaling.py` prints a table for each trace. Every rule sees the same figures, machines
take the same time to boot, and each is asked as often as its authors let it run. The rules are
restated from the documents and sources that their authors publish, without a line of theirs. What
those leave to a platform (which machine goes) or were not found to say is an assumption: so are
Woodpecker's minute and ten minutes, and the ten of Buildkite's agents.
"""

from __future__ import annotations

import argparse
import math
import platform
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from conveyor.autoscaler.machine_state import Agent, Busy, Drained, Draining, Idle
from conveyor.autoscaler.plan import Demand, DrainAgent, Plan, StartMachines, StopMachine
from conveyor.autoscaler.planner import make_plan
from conveyor.autoscaler.policy import Policy, Pool
from conveyor.autoscaler.provider import PoolSpec
from conveyor.autoscaler.simulate import Simulation, SimulationReport
from conveyor.autoscaler.workload import Trace, TraceJob

SLOTS, MOST = 2, 50
SETS = (frozenset[str](),)


class Load(NamedTuple):
    """What a rule looks at, counted."""

    waiting: int
    running: int
    agents: Sequence[Agent]


class Rule(Protocol):
    """A scaler: how often it looks, and what it does then."""

    every: float

    def decide(self, load: Load, simulation: Simulation, now: float) -> Plan: ...


def needed(load: Load) -> int:
    """Return ceil((waiting + running) / slots): where all rules begin."""
    return math.ceil((load.waiting + load.running) / SLOTS)


def starts(count: int, why: str) -> Plan:
    return Plan(starts=(StartMachines("plain", count, why),) if count > 0 else ())


def ended(agents: Sequence[Agent]) -> tuple[StopMachine, ...]:
    return tuple(
        StopMachine(each.machine, "its agent has gone")
        for each in agents
        if isinstance(each.state, Drained)
    )


class Drone:
    """Drone's autoscaler with its defaults: a look each 5 min, and 55 min of age before it may go.

    ceil((pending - max(capacity - running - buffer, 0)) / slots) servers are added, or as many idle
    ones ended, the newest first; capacity is that of all servers that have not been stopped.
    """

    def __init__(self, every: float = 300.0, age: float = 3300.0) -> None:
        self.every, self._age = every, age

    def decide(self, load: Load, simulation: Simulation, now: float) -> Plan:
        there = len(load.agents)
        free = max(there * SLOTS - load.running, 0)
        difference = math.ceil((load.waiting - free) / SLOTS)
        if difference > 0:
            return starts(min(difference, MOST - there), "pending")
        old = [
            each
            for each in sorted(load.agents, key=lambda each: -each.created_at)
            if isinstance(each.state, Idle) and now - each.created_at >= self._age
        ]
        drains = tuple(DrainAgent(each.machine, "", "surplus") for each in old[: -difference or 0])
        return Plan(drains=drains, stops=ended(load.agents))


class Woodpecker:
    """Woodpecker's autoscaler: a look each minute, 10 min since an agent's last work.

    Wanted are ceil((pending + running) / workflows); an agent too many that has not worked lately
    is told to take no more, is told again to take some when agents are missing, and is removed once
    it is idle. Its released rule counts agents twice, which this one does not hold against it.
    """

    def __init__(self, every: float = 60.0, idle: float = 600.0) -> None:
        self.every, self._idle = every, idle

    def decide(self, load: Load, simulation: Simulation, now: float) -> Plan:
        machines = simulation.fleet.machines
        closed = [each for each in load.agents if isinstance(each.state, Draining | Drained)]
        missing = needed(load) - (len(load.agents) - len(closed))
        while missing > 0 and closed:
            simulation.resume(machines[closed.pop().machine], now)
            missing -= 1
        if missing > 0:
            return starts(min(missing, MOST - len(load.agents)), "required")
        rested = [
            each
            for each in load.agents
            if isinstance(each.state, Idle) and now - each.state.since >= self._idle
        ]
        drains = tuple(DrainAgent(each.machine, "", "surplus") for each in rested[: -missing or 0])
        return Plan(drains=drains, stops=ended(closed))


class Buildkite:
    """Buildkite's scaler of an Auto Scaling group: each 10 s, exactly ceil((jobs) / agents).

    With scale-in the group takes whichever it likes, here the oldest, busy or not. Without, as
    their own stack sets it, an agent leaves by itself once it was idle for 10 min.
    """

    every = 10.0

    def __init__(self, *, scale_in: bool, idle: float = 600.0) -> None:
        self._scale_in, self._idle = scale_in, idle

    def decide(self, load: Load, simulation: Simulation, now: float) -> Plan:
        missing = min(needed(load), MOST) - len(load.agents)
        if missing > 0:
            return starts(missing, "desired")
        if self._scale_in:
            oldest = sorted(load.agents, key=lambda each: each.created_at)[: -missing or 0]
            return Plan(stops=tuple(StopMachine(each.machine, "desired") for each in oldest))
        rested = tuple(
            DrainAgent(each.machine, "", "idle")
            for each in load.agents
            if isinstance(each.state, Idle) and now - each.state.since >= self._idle
        )
        return Plan(drains=rested, stops=ended(load.agents))


class Hpa:
    """A HorizontalPodAutoscaler over (waiting + running) jobs a pod, with its defaults.

    Each 15 s; ceil(replicas * metric / target) unless within 10 %; upwards at most twice as many or
    4 more in 15 s; downwards the highest wish of the last 300 s, and the newest pods go, busy or
    not. At least one replica.
    """

    every = 15.0

    def __init__(self, window: float = 300.0) -> None:
        self._wishes: deque[tuple[float, int]] = deque()
        self._window = window

    def decide(self, load: Load, simulation: Simulation, now: float) -> Plan:
        there = len(load.agents)
        jobs = load.waiting + load.running
        wish = math.ceil(jobs / SLOTS)
        if there and abs(jobs / SLOTS / there - 1) <= 0.1:
            wish = there
        wish = max(1, min(wish, MOST))
        self._wishes.append((now, wish))
        while self._wishes[0][0] < now - self._window:
            self._wishes.popleft()
        if wish > there:
            return starts(min(wish, max(2 * there, there + 4)) - there, "metric")
        surplus = there - max(each for _, each in self._wishes)
        newest = sorted(load.agents, key=lambda each: -each.created_at)[: max(0, surplus)]
        return Plan(stops=tuple(StopMachine(each.machine, "metric") for each in newest))


class Ours:
    """Conveyor's `make_plan`, each 10 s."""

    every = 10.0

    def __init__(self, *, idle_for: float = 600.0, min_idle: int = 0) -> None:
        self.policy = policy(idle_for=idle_for, min_idle=min_idle)

    def decide(self, load: Load, simulation: Simulation, now: float) -> Plan:
        waiting = [Demand(load.waiting)] if load.waiting else []
        return make_plan(waiting, load.agents, self.policy, now)


RULES: dict[str, Callable[[], Rule]] = {
    "conveyor, defaults": Ours,
    "conveyor, idle_for 2m": lambda: Ours(idle_for=120.0),
    "conveyor, 5m and 4 slots free": lambda: Ours(idle_for=300.0, min_idle=4),
    "drone, defaults": Drone,
    "drone, 1 min, age 10 min": lambda: Drone(60.0, 600.0),
    "woodpecker": Woodpecker,
    "buildkite, scale-in at once": lambda: Buildkite(scale_in=True),
    "buildkite, agents leave": lambda: Buildkite(scale_in=False),
    "hpa, 300 s": Hpa,
}


def policy(*, idle_for: float = 600.0, min_idle: int = 0) -> Policy:
    kind = PoolSpec(name="plain", slots=SLOTS)
    return Policy(pools=(Pool(spec=kind, max=MOST, idle_for=idle_for, min_idle=min_idle),))


def steady(chance: random.Random, hours: float) -> list[TraceJob]:
    """One job each 10 s on average, of 2 min on average."""
    return _arrivals(chance, hours, lambda _: 0.1, 0.1)


def bursty(chance: random.Random, hours: float) -> list[TraceJob]:
    """A trickle, and on average twice an hour 40 jobs within half a minute."""
    jobs = _arrivals(chance, hours, lambda _: 0.005, 0.005)
    at = chance.expovariate(1 / 1800)
    while at < hours * 3600:
        jobs += [(at + chance.uniform(0, 30), chance.expovariate(1 / 120), 0) for _ in range(40)]
        at += chance.expovariate(1 / 1800)
    return sorted(jobs)


def waves(chance: random.Random, hours: float) -> list[TraceJob]:
    """A quarter of an hour with a job each 3 s, then on average half an hour of nearly none."""
    ends: list[tuple[float, float]] = []
    at = 0.0
    while at < hours * 3600:
        at += chance.expovariate(1 / 1800)
        ends.append((at, at + 900))
        at += 900
    wave = iter(ends)
    current = next(wave)

    def rate(at: float) -> float:
        nonlocal current
        while at > current[1]:
            current = next(wave, (math.inf, math.inf))
        return 0.33 if current[0] <= at else 0.003

    return _arrivals(chance, hours, rate, 0.33)


def diurnal(chance: random.Random, hours: float) -> list[TraceJob]:
    """Nothing at night, at noon a job each 4 s."""
    day = 86400
    return _arrivals(
        chance, hours, lambda at: 0.25 * max(0.0, -math.cos(2 * math.pi * at / day)), 0.25
    )


def _arrivals(
    chance: random.Random, hours: float, rate: Callable[[float], float], most: float
) -> list[TraceJob]:
    """Return arrivals at a rate that changes, by thinning."""
    jobs: list[TraceJob] = []
    at = chance.expovariate(most)
    while at < hours * 3600:
        if chance.random() * most < rate(at):
            jobs.append((at, chance.expovariate(1 / 120), 0))
        at += chance.expovariate(most)
    return jobs


TRACES = {"bursty": bursty, "waves": waves, "steady": steady, "diurnal": diurnal}


def replay(jobs: list[TraceJob], rule: Rule, boot: float) -> SimulationReport:
    def asked(waiting: Sequence[Demand], agents: Sequence[Agent], _: Policy, now: float) -> Plan:
        running = sum(
            each.state.running for each in agents if isinstance(each.state, Busy | Draining)
        )
        load = Load(sum(each.count for each in waiting), running, agents)
        return rule.decide(load, simulation, now)

    simulation = Simulation(Trace(jobs, SETS), policy(), planner=asked, every=rule.every, boot=boot)
    return simulation.run()


def compare(jobs: list[TraceJob], boot: float) -> dict[str, SimulationReport]:
    """Print what each rule does with the same jobs."""
    print("| rule | machine hours | p50 s | p95 s | p99 s | kills | started |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    reports: dict[str, SimulationReport] = {}
    for name, make in RULES.items():
        found = reports[name] = replay(jobs, make(), boot)
        print(
            f"| {name} | {found.machine_hours:,.1f} | {found.p50:,.0f} | {found.p95:,.0f} "
            f"| {found.p99:,.0f} | {found.kills:,} | {found.started:,} |"
        )
    return reports


def match(jobs: list[TraceJob], reports: dict[str, SimulationReport], boot: float) -> None:
    """Print for each other rule the shortest p95 that a policy gives for no more machine hours."""
    grid = {
        f"idle_for {idle_for:g}, min_idle {kept}": replay(
            jobs, Ours(idle_for=idle_for, min_idle=kept), boot
        )
        for idle_for in (10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
        for kept in (0, 2, 4, 6, 8, 9, 10, 12, 14, 16, 32)
    }
    print("\n| for no more than the hours of | policy | hours | p95 s | of theirs | kills |")
    print("|---|---|---:|---:|---:|---:|")
    for name, theirs in reports.items():
        affordable = [
            (found.p95, found.machine_hours, called, found.kills)
            for called, found in grid.items()
            if found.machine_hours <= theirs.machine_hours
        ]
        if name.startswith("conveyor"):
            continue
        if not affordable:
            print(f"| {name} | none | | | | |")
            continue
        p95, hours, called, kills = min(affordable)
        share = f"{p95 / theirs.p95:.0%}" if theirs.p95 else "both none" if not p95 else "more"
        print(f"| {name} | {called} | {hours:,.1f} | {p95:,.0f} | {share} | {kills} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=72.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--boot", type=float, default=60.0, help="seconds a machine takes")
    parser.add_argument("--trace", choices=list(TRACES), action="append")
    options = parser.parse_args()
    print(
        f"python {platform.python_version()}; {options.hours:g} h, seed {options.seed}; machines "
        f"have {SLOTS} slots, take {options.boot:g} s to boot, {MOST} at most"
    )
    for name in options.trace or TRACES:
        jobs = TRACES[name](random.Random(options.seed), options.hours)
        if jobs:
            print(f"\n{name}: {len(jobs):,} jobs\n")
            reports = compare(jobs, options.boot)
            if name in ("bursty", "waves"):
                match(jobs, reports, options.boot)


if __name__ == "__main__":
    main()
