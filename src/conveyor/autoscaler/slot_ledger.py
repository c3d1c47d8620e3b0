"""Free slots, machines and costs of each pool, kept up to date while a plan is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import floor

from ..core.labels import serves
from .machine_state import Agent
from .plan import Demand
from .policy import Policy, Pool
from .provider import PoolSpec

# Slots that can run the same jobs: (pool, labels, queues).
SlotKind = tuple[str, frozenset[str], tuple[str, ...]]
# Costs are summed as floats; a cap that is met exactly must not be lost to rounding.
ROUNDING = 1e-9


class SlotLedger:
    """The ledger of one plan. `blocked` are pools that get no machine, with the reason."""

    def __init__(self, policy: Policy, blocked: Mapping[str, str]) -> None:
        self._blocked = blocked
        self._pools = {pool.name: pool for pool in policy.pools}
        self._cost_cap = policy.cost_cap
        self._cost = 0.0
        self._free: dict[SlotKind, int] = {}
        self._serving = dict.fromkeys(self._pools, 0)
        self._present = dict.fromkeys(self._pools, 0)
        self._reserved = dict.fromkeys(self._pools, 0)

    def pool(self, name: str) -> Pool:
        """Return a pool; one that the policy no longer has gets no machines."""
        if name not in self._pools:
            self._pools[name] = Pool(spec=PoolSpec(name=name), max=0)
            self._serving[name] = self._present[name] = self._reserved[name] = 0
        return self._pools[name]

    def pool_names(self) -> Iterable[str]:
        """Return all pools, including those of which only machines are left."""
        return [name for name in self._pools if name]

    def serving_machines(self, name: str) -> int:
        """Return how many machines of a pool claim jobs or soon will."""
        return self._serving[name]

    def free_slots(self, name: str) -> int:
        """Return how many slots of a pool no waiting job needs."""
        return sum(free for kind, free in self._free.items() if kind[0] == name)

    def add_serving(self, agent: Agent, *, free: int) -> None:
        """Count a machine that claims jobs."""
        kind = (agent.pool, agent.labels, agent.queues)
        # An agent whose slots were reduced runs more jobs than it has slots for a while.
        self._free[kind] = self._free.get(kind, 0) + max(0, free)
        self._serving[agent.pool] += 1
        self.add_present(agent.pool)

    def add_present(self, name: str) -> None:
        """Count a machine that exists and claims no jobs."""
        self._present[name] += 1
        self.add_cost(name)

    def add_cost(self, name: str) -> None:
        """Count a machine that does not count towards the maximum but may be billed."""
        self._cost += self._pools[name].cost_per_hour

    def reserve_machines(self, pool: Pool, machines: int) -> tuple[int, str]:
        """Count machines to be started; return how many are allowed, and the tightest limit."""
        granted, limit = min(self._limits(pool), key=lambda each: each[0])
        granted = max(0, min(machines, granted))
        kind = _slot_kind(pool)
        self._free[kind] = self._free.get(kind, 0) + granted * pool.slots
        for counts in (self._serving, self._present, self._reserved):
            counts[pool.name] += granted
        self._cost += granted * pool.cost_per_hour
        return granted, limit

    def match_demands(self, waiting: Sequence[Demand]) -> list[tuple[Demand, int]]:
        """Assign waiting jobs to free slots; return how many of each demand are left."""
        kinds = {*self._free, *(_slot_kind(pool) for pool in self._pools.values() if pool.name)}
        most_restricted_first = sorted(
            (demand for demand in waiting if demand.count > 0),
            key=lambda demand: sum(_can_run(kind, demand) for kind in kinds),
        )
        users = {
            kind: sum(_can_run(kind, demand) for demand in most_restricted_first)
            for kind in self._free
        }
        # `assign` goes through the slots in this order.
        for kind in sorted(self._free, key=lambda kind: (users[kind], len(kind[1]))):
            self._free[kind] = self._free.pop(kind)
        return [(demand, self.assign(demand, demand.count)) for demand in most_restricted_first]

    def assign(self, demand: Demand, count: int) -> int:
        """Assign jobs to free slots; return how many are left."""
        for kind, free in self._free.items():
            if count and free and _can_run(kind, demand):
                assigned = min(free, count)
                self._free[kind] = free - assigned
                count -= assigned
        return count

    def can_serve(self, pool: Pool, demand: Demand) -> bool:
        """Whether machines of a pool can run such jobs."""
        return _can_run(_slot_kind(pool), demand)

    def release_machine(self, agent: Agent) -> bool:
        """Remove an idle machine, unless `min`, `min_idle` or a waiting job needs it."""
        pool = self._pools[agent.pool]
        kind = (agent.pool, agent.labels, agent.queues)
        spare = self.free_slots(agent.pool) - agent.slots >= pool.min_idle
        if self._free[kind] < agent.slots or not spare or self._serving[pool.name] <= pool.min:
            return False
        self._free[kind] -= agent.slots
        self._serving[pool.name] -= 1
        return True

    def _limits(self, pool: Pool) -> list[tuple[int, str]]:
        if pool.name in self._blocked:
            return [(0, self._blocked[pool.name])]
        limits = [(pool.max - self._present[pool.name], f"max is {pool.max}")]
        if pool.step_up is not None:
            left = pool.step_up - self._reserved[pool.name]
            limits.append((left, f"step_up is {pool.step_up}"))
        if self._cost_cap is not None and pool.cost_per_hour:
            left = floor((self._cost_cap - self._cost + ROUNDING) / pool.cost_per_hour)
            limits.append((left, f"cost_cap is {self._cost_cap:g} an hour"))
        return limits


def _slot_kind(pool: Pool) -> SlotKind:
    return pool.name, frozenset(pool.spec.offers), pool.spec.queues


def _can_run(kind: SlotKind, demand: Demand) -> bool:
    _, labels, queues = kind
    return (not queues or not demand.queue or demand.queue in queues) and serves(
        labels, demand.requires
    )
