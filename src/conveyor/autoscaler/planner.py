"""How many machines of which kind, and which may go: one pure decision.

What waits is first given to the free slots there are, the pickiest jobs first and to the machines
that least else can use. What is left over starts machines, the cheapest that serve; slots that are
left over let idle machines go, once they have been idle for long enough.
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
    NeverRegistered,
    Present,
    Quiet,
    Standing,
    Stopping,
)
from .plan import Demand, Drain, Plan, Start, Stop, Tally
from .policy import Policy, Pool
from .slot_ledger import Ledger

# Under which heading of a tally a machine stands; the rest are "other".
COLUMNS: dict[type[Standing], str] = {
    Booting: "booting",
    Idle: "idle",
    Busy: "busy",
    Draining: "draining",
    Drained: "draining",
}


NOTHING: Mapping[str, str] = {}


def decide(
    waiting: Sequence[Demand],
    agents: Sequence[Agent],
    policy: Policy,
    now: float,
    barred: Mapping[str, str] = NOTHING,
) -> Plan:
    """Decide what to start, drain and stop, at Unix time `now`.

    `barred` are pools that get no machine for now, each with the reason.
    """
    ledger = Ledger(policy, barred)
    stops: list[Stop] = []
    idle: dict[str, list[tuple[float, Agent]]] = {}
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for agent in agents:
        pool = ledger.pool(agent.pool)
        standing = judged(agent, pool, now)
        if isinstance(standing, Gone):
            continue
        _enter(ledger, agent, standing)
        column = COLUMNS.get(type(standing), "other")
        counts[agent.pool][column] += 1
        if column == "busy" or not agent.pool:
            continue
        if isinstance(standing, Idle):
            idle.setdefault(agent.pool, []).append((standing.since, agent))
        elif why := _why_stop(standing, pool, now):
            silent = agent.worker if isinstance(standing, Lost) else ""
            stops.append(Stop(agent.machine, why, silent))
    held: list[str] = []
    starts = _starts(ledger, waiting, policy, held)
    drains = [drain for name, found in idle.items() for drain in _drains(ledger, name, found, now)]
    return Plan(
        starts=tuple(starts),
        drains=tuple(drains),
        stops=tuple(stops),
        held=tuple(held),
        pools=tuple(
            Tally(pool=name, wanted=ledger.serving(name), **counts[name]) for name in ledger.names()
        ),
    )


def judged(agent: Agent, pool: Pool, now: float) -> Standing:
    """Return how a machine stands, given for how long its agent may take to come."""
    standing = agent.standing
    if isinstance(standing, Booting) and now - agent.created_at > pool.boot_deadline:
        return NeverRegistered()
    return standing


def _enter(ledger: Ledger, agent: Agent, standing: Present) -> None:
    """Count a machine: by its free slots, towards the maximum, towards the costs."""
    match standing:
        case Busy(running):
            ledger.serve(agent, free=agent.slots - running)
        case Booting() | Idle():
            ledger.serve(agent, free=agent.slots)
        case Quiet() | Draining() | Drained() | Lost() | NeverRegistered() | Stopping():
            ledger.hold(agent.pool)
        case Errored():
            # It may be billed, and must not stand in the way of one that works.
            ledger.bill(agent.pool)
        case _:
            assert_never(standing)


def _why_stop(standing: Standing, pool: Pool, now: float) -> str:
    match standing:
        case Drained():
            return "its agent has said goodbye"
        case Lost(lease_over_at) if now >= lease_over_at:
            return "its agent is silent and its leases are over"
        case NeverRegistered():
            return f"its agent did not come within {pool.boot_deadline:g} s"
        case Errored(detail):
            return f"its provider calls it failed: {detail}" if detail else "it failed to start"
        case _:
            return ""


def _starts(
    ledger: Ledger, waiting: Sequence[Demand], policy: Policy, held: list[str]
) -> list[Start]:
    wishes: dict[str, list[tuple[int, str]]] = {}

    def wish(pool: Pool, machines: int, why: str) -> int:
        granted, limit = ledger.start(pool, machines)
        if granted:
            wishes.setdefault(pool.name, []).append((granted, why))
        if granted < machines:
            held.append(f"{why}; pool {pool.name!r} gets {granted} of {machines}: {limit}")
        return granted

    for pool in policy.pools:
        missing = pool.min - ledger.serving(pool.name)
        if missing > 0:
            wish(pool, missing, f"the minimum is {pool.min}")
    for demand, unmet in ledger.match(waiting):
        left = ledger.take(demand, unmet)
        why = f"{_jobs(left)}{_requiring(demand)} without a free slot"
        pools = [pool for pool in policy.pools if ledger.may_serve(pool, demand)]
        if left and not pools:
            held.append(f"{why}; no pool serves them")
        for pool in sorted(pools, key=_price):
            if left:
                wish(pool, ceil(left / pool.slots), why)
                left = ledger.take(demand, left)
    for pool in policy.pools:
        missing = pool.min_idle - ledger.free(pool.name)
        if missing > 0:
            wish(pool, ceil(missing / pool.slots), f"{pool.min_idle} slots are to be free")
    return [
        Start(name, sum(count for count, _ in parts), "; ".join(why for _, why in parts))
        for name, parts in wishes.items()
    ]


def _drains(ledger: Ledger, name: str, idle: list[tuple[float, Agent]], now: float) -> list[Drain]:
    pool = ledger.pool(name)
    most = inf if pool.step_down is None else pool.step_down
    drains: list[Drain] = []
    for since, agent in sorted(idle, key=lambda each: (each[0], each[1].machine)):
        if len(drains) >= most:
            break
        if not _may_go(pool, since, agent, now) or not ledger.release(agent):
            continue
        why = f"idle for {now - since:.0f} s, and nothing that waits needs it"
        drains.append(Drain(agent.machine, agent.worker, why))
    return drains


def _may_go(pool: Pool, since: float, agent: Agent, now: float) -> bool:
    age = now - agent.created_at
    if now - since < pool.idle_for or age < pool.min_age:
        return False
    paid = pool.billing_increment
    return not paid or paid - age % paid <= pool.billing_window


def _price(pool: Pool) -> tuple[float, int]:
    """The cheapest slot first, then the machine that least else can use."""
    return pool.cost_per_hour / pool.slots, len(pool.spec.offers)


def _jobs(count: int) -> str:
    return f"{count} job{'s' if count != 1 else ''}"


def _requiring(demand: Demand) -> str:
    required = f" requiring {', '.join(sorted(demand.requires))}" if demand.requires else ""
    return f"{required} on queue {demand.queue!r}" if demand.queue else required
