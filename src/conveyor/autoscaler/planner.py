"""How many machines of each pool are needed, and which can go: one pure decision.

Waiting jobs are first assigned to existing free slots: the jobs with the fewest possible machines
first, and to the machines that the fewest other jobs can use. The rest starts machines, the
cheapest suitable slots first. Idle machines that nothing needs are drained after `idle_for`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from math import ceil, inf
from typing import assert_never

from .machine_state import (
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
    Present,
    Quiet,
    Stopping,
)
from .plan import Demand, DrainAgent, Plan, PoolCounts, StartMachines, StopMachine
from .policy import Policy, Pool
from .slot_ledger import SlotLedger

# The column of a pool's counts for each state; all other states are "other".
COLUMNS: dict[type[MachineState], str] = {
    Booting: "booting",
    Idle: "idle",
    Busy: "busy",
    Draining: "draining",
    Drained: "draining",
}
NONE_BLOCKED: Mapping[str, str] = {}


def make_plan(
    waiting: Sequence[Demand],
    agents: Sequence[Agent],
    policy: Policy,
    now: float,
    blocked: Mapping[str, str] = NONE_BLOCKED,
) -> Plan:
    """Decide what to start, drain and stop, at Unix time `now`.

    `blocked` are pools that get no machine for now, each with the reason.
    """
    ledger = SlotLedger(policy, blocked)
    stops: list[StopMachine] = []
    idle: dict[str, list[tuple[float, Agent]]] = {}
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for agent in agents:
        pool = ledger.pool(agent.pool)
        state = apply_boot_deadline(agent, pool, now)
        if isinstance(state, Gone):
            continue
        _count_in_ledger(ledger, agent, state)
        column = COLUMNS.get(type(state), "other")
        counts[agent.pool][column] += 1
        if column == "busy" or not agent.pool:
            continue
        if isinstance(state, Idle):
            idle.setdefault(agent.pool, []).append((state.since, agent))
        elif why := _why_stop(state, pool, now):
            silent = agent.worker if isinstance(state, Lost) else ""
            stops.append(StopMachine(agent.machine, why, silent))
    held: list[str] = []
    starts = _plan_starts(ledger, waiting, policy, held)
    drains = [
        each for name, found in idle.items() for each in _plan_drains(ledger, name, found, now)
    ]
    return Plan(
        starts=tuple(starts),
        drains=tuple(drains),
        stops=tuple(stops),
        held=tuple(held),
        pools=tuple(
            PoolCounts(pool=name, wanted=ledger.serving_machines(name), **counts[name])
            for name in ledger.pool_names()
        ),
    )


def apply_boot_deadline(agent: Agent, pool: Pool, now: float) -> MachineState:
    """Return the machine's state: one that boots for too long never registered."""
    if isinstance(agent.state, Booting) and now - agent.created_at > pool.boot_deadline:
        return NeverRegistered()
    return agent.state


def _count_in_ledger(ledger: SlotLedger, agent: Agent, state: Present) -> None:
    match state:
        case Busy(running):
            ledger.add_serving(agent, free=agent.slots - running)
        case Booting() | Idle():
            ledger.add_serving(agent, free=agent.slots)
        case Quiet() | Draining() | Drained() | Lost() | NeverRegistered() | Stopping():
            ledger.add_present(agent.pool)
        case Errored():
            # It may be billed, and must not keep a working one from being started.
            ledger.add_cost(agent.pool)
        case _:
            assert_never(state)


def _why_stop(state: MachineState, pool: Pool, now: float) -> str:
    match state:
        case Drained():
            return "its agent has left"
        case Lost(lease_over_at) if now >= lease_over_at:
            return "its agent is silent and its leases have expired"
        case NeverRegistered():
            return f"its agent did not register within {pool.boot_deadline:g} s"
        case Errored(detail):
            return f"its provider reports a failure: {detail}" if detail else "it failed to start"
        case _:
            return ""


def _plan_starts(
    ledger: SlotLedger, waiting: Sequence[Demand], policy: Policy, held: list[str]
) -> list[StartMachines]:
    granted_by_pool: dict[str, list[tuple[int, str]]] = {}

    def request(pool: Pool, machines: int, why: str) -> None:
        granted, limit = ledger.reserve_machines(pool, machines)
        if granted:
            granted_by_pool.setdefault(pool.name, []).append((granted, why))
        if granted < machines:
            held.append(f"{why}; pool {pool.name!r} gets {granted} of {machines}: {limit}")

    for pool in policy.pools:
        missing = pool.min - ledger.serving_machines(pool.name)
        if missing > 0:
            request(pool, missing, f"min is {pool.min}")
    for demand, unmet in ledger.match_demands(waiting):
        # A machine that was reserved for another demand may have free slots for this one.
        left = ledger.assign(demand, unmet)
        why = f"{_jobs(left)}{_requiring(demand)} without a free slot"
        pools = [pool for pool in policy.pools if ledger.can_serve(pool, demand)]
        if left and not pools:
            held.append(f"{why}; no pool serves them")
        for pool in sorted(pools, key=_price):
            if left:
                request(pool, ceil(left / pool.slots), why)
                left = ledger.assign(demand, left)
    for pool in policy.pools:
        missing = pool.min_idle - ledger.free_slots(pool.name)
        if missing > 0:
            request(pool, ceil(missing / pool.slots), f"min_idle is {pool.min_idle}")
    return [
        StartMachines(name, sum(count for count, _ in parts), "; ".join(why for _, why in parts))
        for name, parts in granted_by_pool.items()
    ]


def _plan_drains(
    ledger: SlotLedger, name: str, idle: list[tuple[float, Agent]], now: float
) -> list[DrainAgent]:
    pool = ledger.pool(name)
    limit = inf if pool.step_down is None else pool.step_down
    drains: list[DrainAgent] = []
    for since, agent in sorted(idle, key=lambda each: (each[0], each[1].machine)):
        if len(drains) >= limit:
            break
        if not _may_drain(pool, since, agent, now) or not ledger.release_machine(agent):
            continue
        why = f"idle for {now - since:.0f} s and not needed by waiting jobs"
        drains.append(DrainAgent(agent.machine, agent.worker, why))
    return drains


def _may_drain(pool: Pool, idle_since: float, agent: Agent, now: float) -> bool:
    age = now - agent.created_at
    if now - idle_since < pool.idle_for or age < pool.min_age:
        return False
    increment = pool.billing_increment
    return not increment or increment - age % increment <= pool.billing_window


def _price(pool: Pool) -> tuple[float, int]:
    """The cheapest slot first, then the machine that the fewest other jobs can use."""
    return pool.cost_per_hour / pool.slots, len(pool.spec.offers)


def _jobs(count: int) -> str:
    return f"{count} job{'s' if count != 1 else ''}"


def _requiring(demand: Demand) -> str:
    required = f" requiring {', '.join(sorted(demand.requires))}" if demand.requires else ""
    return f"{required} on queue {demand.queue!r}" if demand.queue else required
