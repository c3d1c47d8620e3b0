"""Machines in virtual time: started, drained and stopped by a simulation."""

from __future__ import annotations

from collections import deque
from math import ceil

from .machine_state import Agent, Booting, Busy, Drained, Draining, Idle, MachineState
from .policy import HOUR, Pool
from .workload import TraceJob


class SimulatedMachine:
    """A machine of a simulation. `jobs` are the running ones, by the number of their start."""

    __slots__ = (
        "_agent",
        "accepts_jobs",
        "created_at",
        "gone",
        "id",
        "idle_since",
        "jobs",
        "pool",
        "registered",
    )

    def __init__(self, id_: str, pool: Pool, now: float) -> None:
        self.id = id_
        self.pool = pool
        self.created_at = self.idle_since = now
        self.registered = False
        self.accepts_jobs = False
        self.gone = False
        self.jobs: dict[int, TraceJob] = {}
        self._agent: Agent | None = None

    def invalidate(self) -> None:
        """Drop the cached agent after a change."""
        self._agent = None

    def as_agent(self) -> Agent:
        """Return the machine as the planner sees it."""
        if self._agent is None:
            self._agent = Agent(
                machine=self.id,
                pool=self.pool.name,
                created_at=self.created_at,
                state=self._state(),
                slots=self.pool.slots,
                labels=frozenset(self.pool.spec.offers),
                queues=self.pool.spec.queues,
                worker=self.id if self.registered else "",
            )
        return self._agent

    def _state(self) -> MachineState:
        if not self.registered:
            return Booting()
        if not self.accepts_jobs:
            return Draining(len(self.jobs)) if self.jobs else Drained()
        return Busy(len(self.jobs)) if self.jobs else Idle(self.idle_since)


class SimulatedFleet:
    """All machines, their free slots by pool, and their costs."""

    def __init__(self) -> None:
        self.machines: dict[str, SimulatedMachine] = {}
        self.free: dict[str, deque[SimulatedMachine]] = {}
        self.started = 0
        self.peak = 0
        self.seconds = self.paid_seconds = self.cost = 0.0

    def start(self, pool: Pool, now: float) -> SimulatedMachine:
        """Create a machine."""
        self.started += 1
        machine = SimulatedMachine(f"{pool.name}-{self.started}", pool, now)
        self.machines[machine.id] = machine
        self.peak = max(self.peak, len(self.machines))
        return machine

    def accept_jobs(self, machine: SimulatedMachine, now: float) -> None:
        """Let a machine accept jobs: its agent has registered or is resumed."""
        machine.registered = machine.accepts_jobs = True
        machine.idle_since = now
        machine.invalidate()
        spare = machine.pool.slots - len(machine.jobs)
        self.free.setdefault(machine.pool.name, deque()).extend([machine] * spare)

    def drain(self, machine: SimulatedMachine) -> None:
        """Stop a machine from accepting jobs."""
        if machine.accepts_jobs:
            machine.accepts_jobs = False
            machine.invalidate()
            slots = self.free[machine.pool.name]
            kept = [each for each in slots if each is not machine]
            slots.clear()
            slots.extend(kept)

    def stop(self, machine: SimulatedMachine, now: float) -> None:
        """Remove a machine, even if jobs run on it."""
        self.drain(machine)
        machine.gone = True
        del self.machines[machine.id]
        self.bill(machine, now)

    def bill(self, machine: SimulatedMachine, now: float) -> None:
        """Add the costs of a machine until now."""
        pool = machine.pool
        seconds = now - machine.created_at
        paid = seconds
        if pool.billing_increment:
            paid = max(1, ceil(seconds / pool.billing_increment)) * pool.billing_increment
        self.seconds += seconds
        self.paid_seconds += paid
        self.cost += paid / HOUR * pool.cost_per_hour
