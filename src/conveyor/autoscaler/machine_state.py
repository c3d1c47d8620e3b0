"""How a machine stands: what its provider and the store know of it, as one of a few cases."""

from __future__ import annotations

import msgspec

from ..core.job import WorkerInfo
from .agent_launch import LABEL
from .provider import Machine, PoolSpec


class Booting(msgspec.Struct, frozen=True):
    """Made, and its agent is not there yet. Counts as capacity until the boot deadline."""


class Idle(msgspec.Struct, frozen=True):
    """Its agent is there and has had nothing to run since."""

    since: float


class Busy(msgspec.Struct, frozen=True):
    """Its agent runs jobs."""

    running: int


class Quiet(msgspec.Struct, frozen=True):
    """A person told its agent to claim nothing: no capacity, and not the scaler's to end."""

    running: int


class Draining(msgspec.Struct, frozen=True):
    """Its agent claims nothing more and ends once its last job has."""

    running: int


class Drained(msgspec.Struct, frozen=True):
    """Its agent was there and has said goodbye."""


class Lost(msgspec.Struct, frozen=True):
    """Its agent is silent. Its jobs may still run, until its leases are over."""

    lease_over_at: float


class NeverRegistered(msgspec.Struct, frozen=True):
    """Its agent did not come within the boot deadline."""


class Errored(msgspec.Struct, frozen=True):
    """Its provider calls it failed, and no agent is heard from it. It may be billed."""

    detail: str = ""


class Stopping(msgspec.Struct, frozen=True):
    """Its provider is taking it away."""


class Gone(msgspec.Struct, frozen=True):
    """It is there no more and costs nothing."""


# How a machine stands that is there; only such a one may be billed.
Present = (
    Booting | Idle | Busy | Quiet | Draining | Drained | Lost | NeverRegistered | Errored | Stopping
)
Standing = Present | Gone


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """A machine and the agent on it, as `decide` sees them.

    `machine` is its id, `worker` the agent's once there is one. An agent that no scaler made has no
    pool: its slots count, and it is never drained or stopped. No `queues` means all.
    """

    machine: str
    pool: str
    created_at: float
    standing: Standing
    slots: int
    labels: frozenset[str] = frozenset()
    queues: tuple[str, ...] = ()
    worker: str = ""


def observe(
    machine: Machine,
    worker: WorkerInfo | None,
    spec: PoolSpec,
    *,
    now: float,
    lease: float,
    idle_since: float | None = None,
    was_there: bool = False,
) -> Agent:
    """Join what the provider and the store say of one machine.

    `idle_since`: since when its agent has been seen without a job; `was_there`: it has been seen
    at all. Whoever does not remember passes neither: the machine then stands longer, never shorter.
    """
    return Agent(
        machine=machine.id,
        pool=machine.pool,
        created_at=machine.created_at,
        standing=_standing(machine, worker, now, lease, idle_since, was_there),
        slots=spec.slots if worker is None else worker.slots,
        labels=frozenset(spec.offers) if worker is None else _labels(worker),
        queues=spec.queues if worker is None else worker.queues,
        worker=machine.agent if worker is None else worker.id,
    )


def fixed(worker: WorkerInfo, *, now: float, lease: float) -> Agent:
    """Return an agent that no scaler made."""
    return Agent(
        machine="",
        pool="",
        created_at=worker.started_at,
        standing=_of_worker(worker, now, lease, None),
        slots=worker.slots,
        labels=_labels(worker),
        queues=worker.queues,
        worker=worker.id,
    )


def _labels(worker: WorkerInfo) -> frozenset[str]:
    """Return its labels but the one that is its machine's name: no job requires that."""
    return frozenset(each for each in worker.labels if not each.startswith(f"{LABEL}="))


def _standing(
    machine: Machine,
    worker: WorkerInfo | None,
    now: float,
    lease: float,
    idle_since: float | None,
    was_there: bool,  # noqa: FBT001 - private
) -> Standing:
    match machine.state:
        case "gone":
            return Gone()
        case "stopping":
            return Stopping()
        case _ if worker is not None:
            # Whatever its provider says of it: from an agent that is heard, nothing is taken away.
            return _of_worker(worker, now, lease, idle_since)
        case "errored":
            return Errored(machine.detail)
        case "starting" | "running":
            return Drained() if was_there else Booting()


def _of_worker(worker: WorkerInfo, now: float, lease: float, idle_since: float | None) -> Standing:
    if now - worker.beat_at > lease:
        # A lease may have been renewed shortly after the last beat, and lasts from there.
        return Lost(worker.beat_at + 2 * lease)
    if worker.draining:
        return Draining(worker.running)
    if worker.quiet:
        return Quiet(worker.running)
    if worker.running:
        return Busy(worker.running)
    return Idle(now if idle_since is None else idle_since)
