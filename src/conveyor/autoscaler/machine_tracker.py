"""Combines each machine of a snapshot with its history."""

from __future__ import annotations

import msgspec

from ..core.job import WorkerInfo
from .intervals import Intervals
from .machine_state import (
    Agent,
    Draining,
    Errored,
    Gone,
    Idle,
    Lost,
    MachineState,
    NeverRegistered,
    agent_on,
)
from .planner import apply_boot_deadline
from .policy import Policy, Pool
from .pool_backoff import next_backoff
from .provider import Machine, PoolSpec
from .state import MachineHistory, PoolBackoff, ScalerState

# How long after it was destroyed a machine that still exists is destroyed again, in seconds.
STOP_AGAIN_AFTER = 180.0


class MachineTracker:
    """The machines of one snapshot. `gap`: nothing is known about the time since the last one.

    `histories` are by machine, `queues` those that the agents of each pool serve.
    """

    def __init__(
        self, state: ScalerState, policy: Policy, intervals: Intervals, now: float, *, gap: bool
    ) -> None:
        self.pools = {pool.name: pool for pool in policy.pools}
        self.histories: dict[str, MachineHistory] = {}
        self.queues = dict(state.queues)
        self._state, self._intervals, self._now, self._gap = state, intervals, now, gap
        self._succeeded: set[str] = set()
        self._failed: dict[str, str] = {}

    def since_awake(self, worker: WorkerInfo) -> WorkerInfo:
        """Return a worker whose silence counts only from when heartbeats could be received."""
        beat_at = max(worker.beat_at, self._state.awake_since)
        return msgspec.structs.replace(worker, beat_at=beat_at)

    def track(self, machine: Machine, worker: WorkerInfo | None) -> Agent:
        """Return a machine's agent and its state, and extend the machine's history."""
        pool = self.pools.get(machine.pool) or _removed_pool(machine.pool)
        before = self._state.machines.get(machine.id, MachineHistory())
        history = self._extend(before, machine, worker)
        if machine.state != "gone" and before.stop_again_at > self._now:
            machine = msgspec.structs.replace(machine, state="stopping")
        agent = agent_on(
            machine,
            None if worker is None else self.since_awake(worker),
            pool.spec,
            now=self._now,
            lease=self._intervals.lease,
            idle_since=history.idle_since,
            was_registered=history.beat_at > 0,
        )
        if worker is not None:
            self.queues[machine.pool] = worker.queues
        elif history.beat_at and machine.state not in ("gone", "stopping"):
            agent = self._with_agent_missing(agent, history)
        elif not history.beat_at:
            # While heartbeats could not be received it could not register either.
            created_at = max(agent.created_at, self._state.awake_since)
            agent = msgspec.structs.replace(agent, created_at=created_at)
        if worker is not None and not isinstance(agent.state, Idle):
            history = msgspec.structs.replace(history, idle_since=None)
        self.histories[machine.id] = self._count_start(agent, before, history, machine, pool)
        return agent

    def backoffs(self) -> dict[str, PoolBackoff]:
        """Return the pools whose machines fail to start."""
        backoffs = {
            name: backoff
            for name, backoff in self._state.troubles.items()
            if name not in self._succeeded and name in self.pools
        }
        for name, why in self._failed.items():
            if name not in self._succeeded:
                backoffs[name] = next_backoff(
                    backoffs.get(name), why, self._now, self._intervals.every
                )
        return backoffs

    def _extend(
        self, before: MachineHistory, machine: Machine, worker: WorkerInfo | None
    ) -> MachineHistory:
        stop_again_at = before.stop_again_at
        if machine.state == "stopping" and not stop_again_at:
            stop_again_at = self._now + STOP_AGAIN_AFTER
        # Jobs that began and finished between two heartbeats also end idleness.
        worked = worker is not None and worker.finished != before.finished
        idle_since = None if self._gap or worked else before.idle_since
        missing_since = None if self._gap else before.missing_since
        return MachineHistory(
            beat_at=before.beat_at if worker is None else worker.beat_at,
            finished=before.finished if worker is None else worker.finished,
            idle_since=None if worker is None else _or_now(idle_since, self._now),
            draining=before.draining if worker is None else worker.draining,
            missing_since=None if worker else _or_now(missing_since, self._now),
            failed=before.failed,
            stop_again_at=stop_again_at,
        )

    def _with_agent_missing(self, agent: Agent, history: MachineHistory) -> Agent:
        """Return the state of a machine whose agent was registered and is unknown to the store.

        An agent that sent heartbeats until then has left. One that was silent may have been
        forgotten while it still runs.
        """
        missing_since = history.missing_since or self._now
        was_silent = missing_since - history.beat_at > self._intervals.lease
        if was_silent:
            silent_since = max(history.beat_at, self._state.awake_since)
            state: MachineState = Lost(silent_since + 2 * self._intervals.lease)
        elif not history.draining and self._now - missing_since < self._intervals.unknown_grace:
            state = Draining(0)
        else:
            return agent
        return msgspec.structs.replace(agent, state=state)

    def _count_start(
        self,
        agent: Agent,
        before: MachineHistory,
        history: MachineHistory,
        machine: Machine,
        pool: Pool,
    ) -> MachineHistory:
        """Count, once for each machine, whether its agent has registered or failed to."""
        if before.beat_at or before.failed:
            return history
        if history.beat_at or machine.agent:
            self._succeeded.add(machine.pool)
            return history
        state = apply_boot_deadline(agent, pool, self._now)
        # A one-shot agent may have registered and left between two snapshots.
        gone = isinstance(state, Gone) and not pool.spec.one_shot and not history.stop_again_at
        if not gone and not isinstance(state, NeverRegistered | Errored):
            return history
        self._failed[machine.pool] = machine.detail or f"{machine.id} did not register"
        return msgspec.structs.replace(history, failed=True)


def _removed_pool(name: str) -> Pool:
    """Stand in for a pool that the policy no longer has."""
    return Pool(spec=PoolSpec(name=name), max=0)


def _or_now(moment: float | None, now: float) -> float:
    return now if moment is None else moment
