"""What a look means beside what is remembered: pure rules, from one memory to the next.

An agent is silent only from when it could be heard: after a gap in the looks, or while no server
was there that it could have told, its silence says nothing of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from ..core.backoff import doubled
from ..core.job import WorkerInfo
from ..maintenance.upkeep import SWEEP
from ..store.messages import SILENCE
from .agent_launch import machine_of, pool_of
from .machine_state import (
    Agent,
    Booting,
    Draining,
    Errored,
    Gone,
    Idle,
    Lost,
    NeverRegistered,
    fixed,
    observe,
)
from .plan import Demand, Drain, Stop
from .planner import judged
from .policy import Policy, Pool
from .provider import Machine, PoolSpec
from .snapshot import Sight
from .state import Memory, Seen, Trouble, Unanswered

# How long a provider may leave a machine out of its list that it has made, in seconds.
UNLISTED = 60.0
# How long an agent may be there without its machine: a list may be behind, too.
STRAY = 120.0
# How long after it began the end of a machine is asked for once more, in seconds.
REPEAT = 180.0
# The longest pause between machines that do not come, in seconds.
LONGEST = 600.0


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """How often the scaler looks, how long an agent's lease lasts, how often it beats. Seconds."""

    every: float = 10.0
    lease: float = 60.0
    beat: float = 5.0

    @property
    def gap(self) -> float:
        """After how long without a look nothing is known of the time between."""
        return max(3 * self.every, self.lease / 2)

    @property
    def grace(self) -> float:
        """How long an agent may be unknown until that is a goodbye: a store may be new, and only
        hear of it at its next beat.
        """
        return 3 * self.beat


class Recalled(NamedTuple):
    """What is known now, and what follows from it beside what `decide` says.

    `stops` are machines that should have gone long ago, `drains` agents without a machine,
    `forgotten` silent agents whose machine is not there, by id with the reason.
    """

    memory: Memory
    agents: Sequence[Agent]
    policy: Policy
    barred: Mapping[str, str]
    stops: Sequence[Stop]
    drains: Sequence[Drain]
    forgotten: Mapping[str, str]


def recall(memory: Memory, sight: Sight, policy: Policy, times: Times) -> Recalled:
    """Join what is seen with what is remembered."""
    now = sight.at
    served = is_served(sight)
    gap = now - memory.looked_at > times.gap or not served
    awake_since = now if gap else memory.awake_since
    memory = msgspec.structs.replace(memory, looked_at=now, awake_since=awake_since)
    machines = [
        *(machine for listed in sight.machines.values() for machine in listed),
        *_unlisted(memory, sight, now),
    ]
    heard = _by_machine(sight.workers)
    view = _View(memory, policy, times, now, gap=gap)
    joined = [view.join(machine, heard.get(machine.id)) for machine in machines]
    known = {worker.id for name, worker in heard.items() if name in view.seen}
    others = [each for each in sight.workers if each.slots and each.id not in known]
    present = {each.machine for each in joined if not isinstance(each.standing, Gone)}
    strays = _strays(sight, policy, present)
    unanswered = _unanswered(memory, sight, now)
    memory = msgspec.structs.replace(
        memory,
        machines=view.seen | _unseen(memory, sight, policy),
        troubles=view.troubles(),
        queues={name: view.queues[name] for name in view.queues if name in view.pools},
        made=tuple(_unlisted(memory, sight, now)),
        unanswered=unanswered,
        strays={worker.id: memory.strays.get(worker.id, now) for worker in strays},
    )
    return Recalled(
        memory=memory,
        agents=[
            *joined,
            *_awaited(unanswered, view.pools, now),
            *(fixed(view.heard(each), now=now, lease=times.lease) for each in others),
        ],
        policy=_learned(policy, memory.queues),
        barred=_barred(memory, sight, policy, served=served),
        stops=[stop for machine in machines for stop in _overdue(machine, view.seen, now)],
        drains=_drains(memory, strays, times),
        forgotten=_forgotten(memory, strays, times),
    )


def demands(sight: Sight) -> list[Demand]:
    """Return what waits."""
    return [
        Demand(load.waiting, frozenset(load.requires), load.queue)
        for load in sight.loads
        if load.waiting
    ]


def is_served(sight: Sight) -> bool:
    """Whether a server is there, which is a worker without slots: agents reach it alone."""
    heard_at = max((each.beat_at for each in sight.workers if not each.slots), default=0.0)
    return sight.at - heard_at <= 4 * SWEEP


def worse(trouble: Trouble | None, why: str, now: float, every: float) -> Trouble:
    """Return the trouble of a pool after one more failure: the pause until the next try doubles."""
    failures = 1 if trouble is None else trouble.failures + 1
    pause = doubled(every, LONGEST, failures)
    return Trouble(failures, now + pause, why)


class _View:
    """One look at the machines, for as long as that takes: what is known of each, and of pools."""

    def __init__(
        self, memory: Memory, policy: Policy, times: Times, now: float, *, gap: bool
    ) -> None:
        self.pools = {pool.name: pool for pool in policy.pools}
        self.seen: dict[str, Seen] = {}
        self.queues = dict(memory.queues)
        self._memory, self._times, self._now, self._gap = memory, times, now, gap
        self._came: set[str] = set()
        self._failed: dict[str, str] = {}

    def heard(self, worker: WorkerInfo) -> WorkerInfo:
        """Return an agent as if it had beaten when it could be heard again, if it did not since."""
        beat_at = max(worker.beat_at, self._memory.awake_since)
        return msgspec.structs.replace(worker, beat_at=beat_at)

    def join(self, machine: Machine, worker: WorkerInfo | None) -> Agent:
        """Return how a machine stands, and remember what was seen of it."""
        pool = self.pools.get(machine.pool) or _unknown(machine.pool)
        before = self._memory.machines.get(machine.id, Seen())
        seen = self._remembered(before, machine, worker)
        if machine.state != "gone" and before.stop_again_at > self._now:
            machine = msgspec.structs.replace(machine, state="stopping")
        agent = observe(
            machine,
            None if worker is None else self.heard(worker),
            pool.spec,
            now=self._now,
            lease=self._times.lease,
            idle_since=seen.idle_since,
            was_there=seen.beat_at > 0,
        )
        if worker is not None:
            self.queues[machine.pool] = worker.queues
        elif seen.beat_at and machine.state not in ("gone", "stopping"):
            agent = self._missing(agent, seen)
        elif not seen.beat_at:
            # It could not come while nobody could hear it.
            created_at = max(agent.created_at, self._memory.awake_since)
            agent = msgspec.structs.replace(agent, created_at=created_at)
        if worker is not None and not isinstance(agent.standing, Idle):
            seen = msgspec.structs.replace(seen, idle_since=None)
        self.seen[machine.id] = self._counted(agent, before, seen, machine, pool)
        return agent

    def troubles(self) -> dict[str, Trouble]:
        """Return the pools whose machines do not come."""
        troubles = {
            name: trouble
            for name, trouble in self._memory.troubles.items()
            if name not in self._came and name in self.pools
        }
        for name, why in self._failed.items():
            if name not in self._came:
                troubles[name] = worse(troubles.get(name), why, self._now, self._times.every)
        return troubles

    def _remembered(self, before: Seen, machine: Machine, worker: WorkerInfo | None) -> Seen:
        stop_again_at = before.stop_again_at
        if machine.state == "stopping" and not stop_again_at:
            stop_again_at = self._now + REPEAT
        # What it has done between two beats was work, too.
        worked = worker is not None and worker.finished != before.finished
        since = None if self._gap or worked else before.idle_since
        missing = None if self._gap else before.missing_since
        return Seen(
            beat_at=before.beat_at if worker is None else worker.beat_at,
            finished=before.finished if worker is None else worker.finished,
            idle_since=None if worker is None else self._now if since is None else since,
            draining=before.draining if worker is None else worker.draining,
            missing_since=None if worker else self._now if missing is None else missing,
            failed=before.failed,
            stop_again_at=stop_again_at,
        )

    def _missing(self, agent: Agent, seen: Seen) -> Agent:
        """Judge a machine whose agent was there and is known no more.

        That is a goodbye if it was heard until then. One that was silent may only be forgotten.
        """
        missing_since = seen.missing_since or self._now
        silent = missing_since - seen.beat_at > self._times.lease
        if silent:
            from_then = max(seen.beat_at, self._memory.awake_since)
            standing: Lost | Draining = Lost(from_then + 2 * self._times.lease)
        elif not seen.draining and self._now - missing_since < self._times.grace:
            standing = Draining(0)
        else:
            return agent
        return msgspec.structs.replace(agent, standing=standing)

    def _counted(
        self, agent: Agent, before: Seen, seen: Seen, machine: Machine, pool: Pool
    ) -> Seen:
        """Count whether it has come, or has not and will not."""
        if before.beat_at or before.failed:
            return seen
        standing = judged(agent, pool, self._now)
        if seen.beat_at or machine.agent:
            self._came.add(machine.pool)
            return seen
        # One that runs one job may have come and gone between two looks.
        gone = isinstance(standing, Gone) and not pool.spec.one_shot and not seen.stop_again_at
        if not gone and not isinstance(standing, NeverRegistered | Errored):
            return seen
        why = machine.detail or f"{machine.id} did not come"
        self._failed[machine.pool] = why
        return msgspec.structs.replace(seen, failed=True)


def _unknown(name: str) -> Pool:
    return Pool(spec=PoolSpec(name=name), max=0)


def _by_machine(workers: Iterable[WorkerInfo]) -> dict[str, WorkerInfo]:
    """Return the agent on each machine: the one that was heard last, if it was started anew."""
    found: dict[str, WorkerInfo] = {}
    for worker in sorted(workers, key=lambda each: each.beat_at):
        if machine := machine_of(worker.labels):
            found[machine] = worker
    return found


def _unlisted(memory: Memory, sight: Sight, now: float) -> list[Machine]:
    listed = {machine.id for machines in sight.machines.values() for machine in machines}
    return [
        machine
        for machine in memory.made
        if machine.id not in listed and now - machine.created_at < UNLISTED
    ]


def _unanswered(memory: Memory, sight: Sight, now: float) -> tuple[Unanswered, ...]:
    """Return what was asked for and may yet be made: less by each machine that nobody knew."""
    known = memory.machines.keys() | {machine.id for machine in memory.made}
    came = Counter(
        machine.pool
        for machines in sight.machines.values()
        for machine in machines
        if machine.id not in known
    )
    left: list[Unanswered] = []
    for each in memory.unanswered:
        here = min(each.count, came[each.pool])
        came[each.pool] -= here
        if here < each.count and now - each.at < UNLISTED:
            left.append(msgspec.structs.replace(each, count=each.count - here))
    return tuple(left)


def _awaited(
    unanswered: Sequence[Unanswered], pools: Mapping[str, Pool], now: float
) -> list[Agent]:
    """Return agents that may yet come, so that no more are asked for in their place."""
    return [
        Agent(
            machine="",
            pool=each.pool,
            created_at=now,
            standing=Booting(),
            slots=pool.slots,
            labels=frozenset(pool.spec.offers),
            queues=pool.spec.queues,
        )
        for each in unanswered
        if (pool := pools.get(each.pool)) is not None
        for _ in range(each.count)
    ]


def _unseen(memory: Memory, sight: Sight, policy: Policy) -> dict[str, Seen]:
    """Return what is remembered of machines whose provider cannot be asked now."""
    blind = {pool.name for pool in policy.pools if pool.spec.provider in sight.blind}
    return {name: seen for name, seen in memory.machines.items() if pool_of(name) in blind}


def _learned(policy: Policy, queues: Mapping[str, tuple[str, ...]]) -> Policy:
    """Return the policy with the queues of agents that serve whatever their application has."""
    pools = tuple(
        msgspec.structs.replace(
            pool, spec=msgspec.structs.replace(pool.spec, queues=queues[pool.name])
        )
        if not pool.spec.queues and pool.name in queues
        else pool
        for pool in policy.pools
    )
    return msgspec.structs.replace(policy, pools=pools)


def _barred(memory: Memory, sight: Sight, policy: Policy, *, served: bool) -> dict[str, str]:
    barred: dict[str, str] = {}
    for pool in policy.pools:
        trouble = memory.troubles.get(pool.name)
        if not served:
            barred[pool.name] = "no server is heard from, so no agent could come"
        elif pool.spec.provider in sight.blind:
            why = sight.blind[pool.spec.provider]
            barred[pool.name] = f"its provider {pool.spec.provider} cannot be asked: {why}"
        elif trouble is not None and trouble.until > sight.at:
            times = "once" if trouble.failures == 1 else f"{trouble.failures} times in a row"
            barred[pool.name] = (
                f"its machines did not come, {times} ({trouble.why}); "
                f"the next try is in {trouble.until - sight.at:.0f} s"
            )
    return barred


def _overdue(machine: Machine, seen: Mapping[str, Seen], now: float) -> list[Stop]:
    again_at = seen[machine.id].stop_again_at
    if machine.state != "stopping" or now < again_at:
        return []
    return [Stop(machine.id, f"it was to be gone {REPEAT:g} s after its end began, and is there")]


def _strays(sight: Sight, policy: Policy, present: set[str]) -> Sequence[WorkerInfo]:
    """Return the agents of this scaler's machines whose machine is not there."""
    asked = {pool.name for pool in policy.pools if pool.spec.provider in sight.machines}
    return [
        worker
        for worker in sight.workers
        if (machine := machine_of(worker.labels))
        and machine not in present
        and pool_of(machine) in asked
    ]


def _drains(memory: Memory, strays: Sequence[WorkerInfo], times: Times) -> list[Drain]:
    now = memory.looked_at
    return [
        Drain(machine_of(worker.labels), worker.id, f"its machine was not there for {STRAY:g} s")
        for worker in strays
        if now - memory.strays[worker.id] >= STRAY
        and not worker.draining
        and not worker.running
        and now - worker.beat_at <= times.lease
    ]


def _forgotten(memory: Memory, strays: Sequence[WorkerInfo], times: Times) -> dict[str, str]:
    now = memory.looked_at
    over = max(2 * times.lease, SILENCE)
    return {
        worker.id: "it is silent, its leases are over and its machine is not there"
        for worker in strays
        if now - max(worker.beat_at, memory.awake_since) > over
    }
