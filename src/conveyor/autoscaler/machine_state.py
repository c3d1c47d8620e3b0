"""The state of a machine, from what its provider and the store know about it."""

from __future__ import annotations

import msgspec

from ..core.job import WorkerInfo
from .agent_launch import MACHINE_LABEL
from .provider import Machine, PoolSpec


class Booting(msgspec.Struct, frozen=True):
    """Created, and its agent has not registered yet. Counts as capacity until the boot deadline."""


class Idle(msgspec.Struct, frozen=True):
    """Its agent has run no job since then."""

    since: float


class Busy(msgspec.Struct, frozen=True):
    """Its agent runs jobs."""

    running: int


class Quiet(msgspec.Struct, frozen=True):
    """An operator paused its agent: no capacity, and the scaler must not end it."""

    running: int


class Draining(msgspec.Struct, frozen=True):
    """Its agent has stopped claiming jobs and exits after its last one."""

    running: int


class Drained(msgspec.Struct, frozen=True):
    """Its agent was registered and has left."""


class Lost(msgspec.Struct, frozen=True):
    """Its agent sends no heartbeats. Its jobs may still run until its leases expire."""

    lease_over_at: float


class NeverRegistered(msgspec.Struct, frozen=True):
    """Its agent did not register within the boot deadline."""


class Errored(msgspec.Struct, frozen=True):
    """Its provider reports it as failed, and it has no agent. It may be billed."""

    detail: str = ""


class Stopping(msgspec.Struct, frozen=True):
    """Its provider is removing it."""


class Gone(msgspec.Struct, frozen=True):
    """It no longer exists and costs nothing."""


# A machine that exists; only such a one may be billed.
Present = (
    Booting | Idle | Busy | Quiet | Draining | Drained | Lost | NeverRegistered | Errored | Stopping
)
MachineState = Present | Gone


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """A machine and the agent on it, as the planner sees them.

    `machine` and `worker` are ids; there is a worker once the agent has registered. An agent that
    no scaler started has no pool: its slots count, and it is never drained or stopped. No `queues`
    means all.
    """

    machine: str
    pool: str
    created_at: float
    state: MachineState
    slots: int
    labels: frozenset[str] = frozenset()
    queues: tuple[str, ...] = ()
    worker: str = ""


def agent_on(
    machine: Machine,
    worker: WorkerInfo | None,
    spec: PoolSpec,
    *,
    now: float,
    lease: float,
    idle_since: float | None = None,
    was_registered: bool = False,
) -> Agent:
    """Combine what the provider and the store know about a machine.

    `idle_since` and `was_registered` are remembered from earlier snapshots. Without them the
    machine is kept longer, never shorter.
    """
    return Agent(
        machine=machine.id,
        pool=machine.pool,
        created_at=machine.created_at,
        state=_state_of_machine(machine, worker, now, lease, idle_since, was_registered),
        slots=spec.slots if worker is None else worker.slots,
        labels=frozenset(spec.offers) if worker is None else _labels_for_jobs(worker),
        queues=spec.queues if worker is None else worker.queues,
        worker=machine.agent if worker is None else worker.id,
    )


def unmanaged_agent(worker: WorkerInfo, *, now: float, lease: float) -> Agent:
    """Return an agent that no scaler started."""
    return Agent(
        machine="",
        pool="",
        created_at=worker.started_at,
        state=_state_of_worker(worker, now, lease, None),
        slots=worker.slots,
        labels=_labels_for_jobs(worker),
        queues=worker.queues,
        worker=worker.id,
    )


def _labels_for_jobs(worker: WorkerInfo) -> frozenset[str]:
    """Return the labels without the machine's id, which no job requires."""
    return frozenset(each for each in worker.labels if not each.startswith(f"{MACHINE_LABEL}="))


def _state_of_machine(
    machine: Machine,
    worker: WorkerInfo | None,
    now: float,
    lease: float,
    idle_since: float | None,
    was_registered: bool,  # noqa: FBT001 - private
) -> MachineState:
    match machine.state:
        case "gone":
            return Gone()
        case "stopping":
            return Stopping()
        case _ if worker is not None:
            # Even if its provider reports a failure: a machine with a live agent is not stopped.
            return _state_of_worker(worker, now, lease, idle_since)
        case "errored":
            return Errored(machine.detail)
        case "starting" | "running":
            return Drained() if was_registered else Booting()


def _state_of_worker(
    worker: WorkerInfo, now: float, lease: float, idle_since: float | None
) -> MachineState:
    if now - worker.beat_at > lease:
        # A lease may have been renewed shortly after the last heartbeat.
        return Lost(worker.beat_at + 2 * lease)
    if worker.draining:
        return Draining(worker.running)
    if worker.quiet:
        return Quiet(worker.running)
    if worker.running:
        return Busy(worker.running)
    return Idle(now if idle_since is None else idle_since)
