"""Machines in virtual time: what a simulation starts, drains and stops, and how each stands."""

from __future__ import annotations

from collections import deque
from math import ceil

from .machine_state import Agent, Booting, Busy, Drained, Draining, Idle, Standing
from .policy import HOUR, Pool
from .workload import Job


class Simulated:
    """A machine of a simulation. `jobs` are those that it runs, by the number of their start."""

    __slots__ = ("_view", "created_at", "gone", "id", "jobs", "pool", "since", "takes", "there")

    def __init__(self, id_: str, pool: Pool, now: float) -> None:
        self.id = id_
        self.pool = pool
        self.created_at = self.since = now
        self.there = False
        self.takes = False
        self.gone = False
        self.jobs: dict[int, Job] = {}
        self._view: Agent | None = None

    def changed(self) -> None:
        """Forget how it stood."""
        self._view = None

    def view(self) -> Agent:
        """Say how it stands, as a scaler sees it."""
        if self._view is None:
            self._view = Agent(
                machine=self.id,
                pool=self.pool.name,
                created_at=self.created_at,
                standing=self._standing(),
                slots=self.pool.slots,
                labels=frozenset(self.pool.spec.offers),
                queues=self.pool.spec.queues,
                worker=self.id if self.there else "",
            )
        return self._view

    def _standing(self) -> Standing:
        if not self.there:
            return Booting()
        if not self.takes:
            return Draining(len(self.jobs)) if self.jobs else Drained()
        return Busy(len(self.jobs)) if self.jobs else Idle(self.since)


class Fleet:
    """Every machine there is, its free slots, and what all have cost."""

    def __init__(self) -> None:
        self.machines: dict[str, Simulated] = {}
        self.free: dict[str, deque[Simulated]] = {}
        self.started = 0
        self.most = 0
        self.seconds = self.paid_seconds = self.cost = 0.0

    def start(self, pool: Pool, now: float) -> Simulated:
        """Begin to make a machine."""
        self.started += 1
        machine = Simulated(f"{pool.name}-{self.started}", pool, now)
        self.machines[machine.id] = machine
        self.most = max(self.most, len(self.machines))
        return machine

    def open(self, machine: Simulated, now: float) -> None:
        """Let a machine take jobs, now that its agent is there or is to go on."""
        machine.there = machine.takes = True
        machine.since = now
        machine.changed()
        spare = machine.pool.slots - len(machine.jobs)
        self.free.setdefault(machine.pool.name, deque()).extend([machine] * spare)

    def drain(self, machine: Simulated) -> None:
        """Let a machine take no more jobs."""
        if machine.takes:
            machine.takes = False
            machine.changed()
            slots = self.free[machine.pool.name]
            kept = [each for each in slots if each is not machine]
            slots.clear()
            slots.extend(kept)

    def stop(self, machine: Simulated, now: float) -> None:
        """Take a machine away, whatever runs on it."""
        self.drain(machine)
        machine.gone = True
        del self.machines[machine.id]
        self.bill(machine, now)

    def bill(self, machine: Simulated, now: float) -> None:
        """Add up what a machine has cost until now."""
        pool = machine.pool
        seconds = now - machine.created_at
        paid = seconds
        if pool.billing_increment:
            paid = max(1, ceil(seconds / pool.billing_increment)) * pool.billing_increment
        self.seconds += seconds
        self.paid_seconds += paid
        self.cost += paid / HOUR * pool.cost_per_hour
