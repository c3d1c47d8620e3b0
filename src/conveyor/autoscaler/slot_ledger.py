"""What a decision counts with: free slots, machines and money, pool by pool.

It lives for one decision, and changes while that is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import floor

from ..core.labels import serves
from .machine_state import Agent
from .plan import Demand
from .policy import Policy, Pool
from .provider import PoolSpec

# Slots of a pool that may run the same jobs: (pool, labels, queues).
Kind = tuple[str, frozenset[str], tuple[str, ...]]
# Sums of money are added up; what is left of an exact cap must not be lost to rounding.
ROUNDING = 1e-9


class Ledger:
    """The accounts of one decision."""

    def __init__(self, policy: Policy, barred: Mapping[str, str]) -> None:
        self._barred = barred
        self._pools = {pool.name: pool for pool in policy.pools}
        self._cap = policy.cost_cap
        self._cost = 0.0
        self._free: dict[Kind, int] = {}
        self._serving = dict.fromkeys(self._pools, 0)
        self._there = dict.fromkeys(self._pools, 0)
        self._started = dict.fromkeys(self._pools, 0)

    def pool(self, name: str) -> Pool:
        """Return a pool; one that the policy does not know any more is to have no machine."""
        if name not in self._pools:
            self._pools[name] = Pool(spec=PoolSpec(name=name), max=0)
            self._serving[name] = self._there[name] = self._started[name] = 0
        return self._pools[name]

    def names(self) -> Iterable[str]:
        """Return the pools, also those of which only machines are left."""
        return [name for name in self._pools if name]

    def serving(self, name: str) -> int:
        """How many machines of a pool take jobs or soon will."""
        return self._serving[name]

    def free(self, name: str) -> int:
        """How many slots of a pool nothing waits for."""
        return sum(free for kind, free in self._free.items() if kind[0] == name)

    def serve(self, agent: Agent, *, free: int) -> None:
        """Count a machine that takes jobs."""
        kind = (agent.pool, agent.labels, agent.queues)
        # An agent that was given fewer slots runs more than it has for a while.
        self._free[kind] = self._free.get(kind, 0) + max(0, free)
        self._serving[agent.pool] += 1
        self.hold(agent.pool)

    def hold(self, name: str) -> None:
        """Count a machine that is there and takes no jobs."""
        self._there[name] += 1
        self.bill(name)

    def bill(self, name: str) -> None:
        """Count a machine that may only cost something."""
        self._cost += self._pools[name].cost_per_hour

    def start(self, pool: Pool, machines: int) -> tuple[int, str]:
        """Count machines that are to be started; return how many may be, and what limits them."""
        granted, limit = min(self._limits(pool), key=lambda each: each[0])
        granted = max(0, min(machines, granted))
        kind = _kind(pool)
        self._free[kind] = self._free.get(kind, 0) + granted * pool.slots
        for account in (self._serving, self._there, self._started):
            account[pool.name] += granted
        self._cost += granted * pool.cost_per_hour
        return granted, limit

    def match(self, waiting: Sequence[Demand]) -> list[tuple[Demand, int]]:
        """Give what waits to the slots that are free; return what is left over."""
        kinds = {*self._free, *(_kind(pool) for pool in self._pools.values() if pool.name)}
        picky = sorted(
            (demand for demand in waiting if demand.count > 0),
            key=lambda demand: sum(_may_run(kind, demand) for kind in kinds),
        )
        wanted = {kind: sum(_may_run(kind, demand) for demand in picky) for kind in self._free}
        for kind in sorted(self._free, key=lambda kind: (wanted[kind], len(kind[1]))):
            self._free[kind] = self._free.pop(kind)
        return [(demand, self.take(demand, demand.count)) for demand in picky]

    def take(self, demand: Demand, count: int) -> int:
        """Give jobs to free slots; return how many are left."""
        for kind, free in self._free.items():
            if count and free and _may_run(kind, demand):
                given = min(free, count)
                self._free[kind] = free - given
                count -= given
        return count

    def may_serve(self, pool: Pool, demand: Demand) -> bool:
        """Whether machines of a pool run such jobs."""
        return _may_run(_kind(pool), demand)

    def release(self, agent: Agent) -> bool:
        """Count out an idle machine, if neither a minimum nor a job that waits needs it."""
        pool = self._pools[agent.pool]
        kind = (agent.pool, agent.labels, agent.queues)
        spare = self.free(agent.pool) - agent.slots >= pool.min_idle
        if self._free[kind] < agent.slots or not spare or self._serving[pool.name] <= pool.min:
            return False
        self._free[kind] -= agent.slots
        self._serving[pool.name] -= 1
        return True

    def _limits(self, pool: Pool) -> list[tuple[int, str]]:
        if pool.name in self._barred:
            return [(0, self._barred[pool.name])]
        limits = [(pool.max - self._there[pool.name], f"its maximum is {pool.max}")]
        if pool.step_up is not None:
            left = pool.step_up - self._started[pool.name]
            limits.append((left, f"at most {pool.step_up} are started at once"))
        if self._cap is not None and pool.cost_per_hour:
            left = floor((self._cap - self._cost + ROUNDING) / pool.cost_per_hour)
            limits.append((left, f"all that is there may cost {self._cap:g} an hour"))
        return limits


def _kind(pool: Pool) -> Kind:
    return pool.name, frozenset(pool.spec.offers), pool.spec.queues


def _may_run(kind: Kind, demand: Demand) -> bool:
    _, labels, queues = kind
    return (not queues or not demand.queue or demand.queue in queues) and serves(
        labels, demand.requires
    )
