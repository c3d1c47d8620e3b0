"""Strays: agents of this scaler whose machine their provider does not list."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.job import WorkerInfo
from ..store.messages import SILENCE
from .agent_launch import machine_of, pool_of
from .intervals import Intervals
from .plan import DrainAgent
from .policy import Policy
from .snapshot import Snapshot
from .state import ScalerState

# How long an agent may work without its machine being listed: lists lag behind. In seconds.
MAX_STRAY_TIME = 120.0


def find_strays(snapshot: Snapshot, policy: Policy, machines: set[str]) -> Sequence[WorkerInfo]:
    """Return the agents whose machine is not among those that exist, if its provider answered."""
    answered = {pool.name for pool in policy.pools if pool.spec.provider in snapshot.machines}
    return [
        worker
        for worker in snapshot.workers
        if (machine := machine_of(worker.labels))
        and machine not in machines
        and pool_of(machine) in answered
    ]


def strays_to_drain(
    state: ScalerState, strays: Sequence[WorkerInfo], intervals: Intervals
) -> list[DrainAgent]:
    """Return live, idle strays whose machine has been missing for too long."""
    now = state.looked_at
    why = f"its machine has been missing for {MAX_STRAY_TIME:g} s"
    return [
        DrainAgent(machine_of(worker.labels), worker.id, why)
        for worker in strays
        if now - state.strays[worker.id] >= MAX_STRAY_TIME
        and not worker.draining
        and not worker.running
        and now - worker.beat_at <= intervals.lease
    ]


def strays_to_forget(
    state: ScalerState, strays: Sequence[WorkerInfo], intervals: Intervals
) -> dict[str, str]:
    """Return dead strays, by id with the reason."""
    now = state.looked_at
    expired = max(2 * intervals.lease, SILENCE)
    return {
        worker.id: "it is silent, its leases have expired and its machine is gone"
        for worker in strays
        if now - max(worker.beat_at, state.awake_since) > expired
    }
