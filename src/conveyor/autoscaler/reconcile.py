"""Combines a snapshot with the state of earlier ones: pure rules, from one state to the next.

An agent counts as silent only from when its heartbeats could arrive: after a gap between snapshots,
or while no server ran, missing heartbeats prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from ..core.job import WorkerInfo
from .agent_launch import machine_of, pool_of
from .intervals import Intervals
from .machine_state import Agent, Gone, unmanaged_agent
from .machine_tracker import STOP_AGAIN_AFTER, MachineTracker
from .pending_creates import expected_agents, still_unanswered, unlisted_machines
from .plan import Demand, DrainAgent, StopMachine
from .policy import Policy
from .pool_backoff import blocked_pools, has_server
from .provider import Machine
from .snapshot import Snapshot
from .state import MachineHistory, ScalerState
from .strays import find_strays, strays_to_drain, strays_to_forget


class Reconciled(NamedTuple):
    """The next state, the input of the planner, and actions that need no plan.

    `blocked` are pools that get no machine for now. `stops` are machines that should have gone long
    ago, `drains` and `forgotten` agents without a machine, the latter by id with the reason.
    """

    state: ScalerState
    agents: Sequence[Agent]
    policy: Policy
    blocked: Mapping[str, str]
    stops: Sequence[StopMachine]
    drains: Sequence[DrainAgent]
    forgotten: Mapping[str, str]


def reconcile(
    state: ScalerState, snapshot: Snapshot, policy: Policy, intervals: Intervals
) -> Reconciled:
    """Combine a snapshot with what is remembered."""
    now = snapshot.at
    gap = now - state.looked_at > intervals.max_gap or not has_server(snapshot)
    awake_since = now if gap else state.awake_since
    state = msgspec.structs.replace(state, looked_at=now, awake_since=awake_since)
    unlisted = unlisted_machines(state, snapshot)
    machines = [*(each for listed in snapshot.machines.values() for each in listed), *unlisted]
    worker_on = _workers_by_machine(snapshot.workers)
    tracker = MachineTracker(state, policy, intervals, now, gap=gap)
    agents = [tracker.track(machine, worker_on.get(machine.id)) for machine in machines]
    on_machines = {worker.id for name, worker in worker_on.items() if name in tracker.histories}
    others = [each for each in snapshot.workers if each.slots and each.id not in on_machines]
    existing = {each.machine for each in agents if not isinstance(each.state, Gone)}
    strays = find_strays(snapshot, policy, existing)
    unanswered = still_unanswered(state, snapshot)
    state = msgspec.structs.replace(
        state,
        machines=tracker.histories | _unreachable_histories(state, snapshot, policy),
        troubles=tracker.backoffs(),
        queues={name: queues for name, queues in tracker.queues.items() if name in tracker.pools},
        made=tuple(unlisted),
        unanswered=unanswered,
        strays={worker.id: state.strays.get(worker.id, now) for worker in strays},
    )
    return Reconciled(
        state=state,
        agents=[
            *agents,
            *expected_agents(unanswered, tracker.pools, now),
            *(
                unmanaged_agent(tracker.since_awake(each), now=now, lease=intervals.lease)
                for each in others
            ),
        ],
        policy=_with_learned_queues(policy, state.queues),
        blocked=blocked_pools(state, snapshot, policy),
        stops=_overdue_stops(machines, tracker.histories, now),
        drains=strays_to_drain(state, strays, intervals),
        forgotten=strays_to_forget(state, strays, intervals),
    )


def demands_in(snapshot: Snapshot) -> list[Demand]:
    """Return the waiting jobs of a snapshot."""
    return [
        Demand(load.waiting, frozenset(load.requires), load.queue)
        for load in snapshot.loads
        if load.waiting
    ]


def _workers_by_machine(workers: Iterable[WorkerInfo]) -> dict[str, WorkerInfo]:
    """Return the agent on each machine; of several the one with the latest heartbeat."""
    found: dict[str, WorkerInfo] = {}
    for worker in sorted(workers, key=lambda each: each.beat_at):
        if machine := machine_of(worker.labels):
            found[machine] = worker
    return found


def _unreachable_histories(
    state: ScalerState, snapshot: Snapshot, policy: Policy
) -> dict[str, MachineHistory]:
    """Return the histories of machines whose provider is unreachable now."""
    pools = {pool.name for pool in policy.pools if pool.spec.provider in snapshot.unreachable}
    return {name: history for name, history in state.machines.items() if pool_of(name) in pools}


def _with_learned_queues(policy: Policy, queues: Mapping[str, tuple[str, ...]]) -> Policy:
    """Return the policy with the queues of pools that name none, as their agents serve them."""
    pools = tuple(
        msgspec.structs.replace(
            pool, spec=msgspec.structs.replace(pool.spec, queues=queues[pool.name])
        )
        if not pool.spec.queues and pool.name in queues
        else pool
        for pool in policy.pools
    )
    return msgspec.structs.replace(policy, pools=pools)


def _overdue_stops(
    machines: Sequence[Machine], histories: Mapping[str, MachineHistory], now: float
) -> list[StopMachine]:
    why = f"it still exists {STOP_AGAIN_AFTER:g} s after it was stopped"
    return [
        StopMachine(machine.id, why)
        for machine in machines
        if machine.state == "stopping" and now >= histories[machine.id].stop_again_at
    ]
