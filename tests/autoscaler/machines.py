"""Agents and policies for the tests of the scaler, and machines that do as they are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from conveyor.autoscaler.machine_state import (
    Agent,
    Booting,
    Drained,
    Idle,
    MachineState,
    NeverRegistered,
)
from conveyor.autoscaler.plan import Demand, Plan
from conveyor.autoscaler.planner import make_plan
from conveyor.autoscaler.policy import Policy, Pool
from conveyor.autoscaler.provider import PoolSpec

NOW = 1_000_000.0
SPEC_FIELDS = PoolSpec.__struct_fields__


def pool(name: str = "plain", **options: Any) -> Pool:
    spec = {key: options.pop(key) for key in list(options) if key in SPEC_FIELDS}
    return Pool(spec=PoolSpec(name=name, **spec), **{"max": 10, **options})


def policy(*pools: Pool, cost_cap: float | None = None) -> Policy:
    return Policy(pools=pools or (pool(),), cost_cap=cost_cap)


def agent(
    state: MachineState,
    name: str = "m1",
    *,
    pool: str = "plain",
    age: float = 5000.0,
    slots: int = 1,
    labels: Sequence[str] = (),
    queues: tuple[str, ...] = (),
) -> Agent:
    return Agent(
        machine=name,
        pool=pool,
        created_at=NOW - age,
        state=state,
        slots=slots,
        labels=frozenset(labels),
        queues=queues,
        worker=f"worker on {name}",
    )


def idle(seconds: float) -> Idle:
    return Idle(NOW - seconds)


def jobs(count: int, *requires: str, queue: str = "") -> Demand:
    return Demand(count, frozenset(requires), queue)


def started(plan: Plan) -> dict[str, int]:
    return {start.pool: start.count for start in plan.starts}


def drained(plan: Plan) -> list[str]:
    return [drain.machine for drain in plan.drains]


def stopped(plan: Plan) -> list[str]:
    return [stop.machine for stop in plan.stops]


class World:
    """Machines that do what a plan says until the next look, and never lose one."""

    def __init__(self, policy: Policy, agents: Sequence[Agent] = ()) -> None:
        self.policy = policy
        self.agents = {each.machine: each for each in agents}
        self.now = NOW
        self.made = 0

    def look(self, *waiting: Demand) -> Plan:
        plan = make_plan(waiting, list(self.agents.values()), self.policy, self.now)
        self.now += 10
        for stop in plan.stops:
            del self.agents[stop.machine]
        for drain in plan.drains:
            self._stand(drain.machine, Drained())
        for name, each in self.agents.items():
            if isinstance(each.state, Booting | NeverRegistered):
                self._stand(name, Idle(self.now))
        for start in plan.starts:
            kind = next(each for each in self.policy.pools if each.name == start.pool)
            for _ in range(start.count):
                self.made += 1
                name = f"new {self.made}"
                self.agents[name] = Agent(
                    machine=name,
                    pool=kind.name,
                    created_at=self.now,
                    state=Booting(),
                    slots=kind.slots,
                    labels=frozenset(kind.spec.labels),
                    queues=kind.spec.queues,
                )
        return plan

    def _stand(self, name: str, state: MachineState) -> None:
        self.agents[name] = msgspec.structs.replace(self.agents[name], state=state)
