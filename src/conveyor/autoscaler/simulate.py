"""Replays a trace of jobs against a policy in virtual time: costs and waiting times.

The oldest job goes first, to the slot that has been free for the longest time, of the pool with the
fewest labels that has one. All machines boot equally fast. The planner sees exact figures.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from math import ceil, inf

import msgspec

from ..core.labels import serves
from .machine_state import Agent
from .plan import Demand, Plan
from .planner import make_plan
from .policy import HOUR, Policy
from .simulated_fleet import SimulatedFleet, SimulatedMachine
from .workload import Trace, TraceJob

Planner = Callable[[Sequence[Demand], Sequence[Agent], Policy, float], Plan]
# Time, a number that orders simultaneous events, the machine, and the job that has finished on it
# with its start; without a job: the machine's agent has registered.
QueuedEvent = tuple[float, int, SimulatedMachine, TraceJob | None, float]
# If nothing changes for this long while jobs wait, they count as unserved.
MAX_STANDSTILL = 6 * HOUR


class Series(msgspec.Struct, frozen=True):
    """The numbers of machines and of waiting jobs in each cycle of the scaler."""

    at: Sequence[float]
    machines: Sequence[float]
    waiting: Sequence[float]


class SimulationReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a simulation. Waiting times are in seconds, until the run that completed.

    `paid_hours` are machine hours in whole billing increments. `kills` are jobs that were running
    on a machine when it was stopped. `unserved` jobs never ran, because no machine may run them.
    """

    jobs: int
    unserved: int
    machine_hours: float
    paid_hours: float
    cost: float
    busy_hours: float
    p50: float
    p95: float
    p99: float
    longest: float
    kills: int
    started: int
    most: int
    series: Series


def simulate(
    trace: Trace,
    policy: Policy,
    *,
    planner: Planner = make_plan,
    every: float = 10.0,
    boot: float = 60.0,
) -> SimulationReport:
    """Replay a trace; `boot` is the time from a machine's start to its registration, in seconds."""
    return Simulation(trace, policy, planner=planner, every=every, boot=boot).run()


class Simulation:
    """One replay. Benchmarks of other scalers use `resume`, which no plan contains."""

    def __init__(
        self, trace: Trace, policy: Policy, *, planner: Planner, every: float, boot: float
    ) -> None:
        self.fleet = SimulatedFleet()
        self._trace = trace
        self._policy = policy
        self._pools = {pool.name: pool for pool in policy.pools}
        self._planner = planner
        self._every = every
        self._boot = boot
        self._events: list[QueuedEvent] = []
        self._number = 0
        self._running = 0
        self._kills = 0
        self._busy_seconds = 0.0
        self._waits = array("d")
        self._waiting: list[deque[TraceJob]] = [deque() for _ in trace.sets]
        # Pool names by label set, those with the fewest labels first; and label sets by pool.
        self._pools_for = [
            [
                pool.name
                for pool in sorted(policy.pools, key=lambda pool: len(pool.spec.offers))
                if serves(frozenset(pool.spec.offers), requires)
            ]
            for requires in trace.sets
        ]
        self._sets_of = {
            name: [number for number, pools in enumerate(self._pools_for) if name in pools]
            for name in self._pools
        }
        self._series = (array("d"), array("d"), array("d"))

    def run(self) -> SimulationReport:
        """Replay all jobs, then continue until the idle machines have been drained."""
        jobs = [job for job in self._trace.jobs if self._pools_for[job[2]]]
        tick = jobs[0][0] if jobs else 0.0
        end, moved = self._idle_until(tick), tick
        arrived = 0
        while True:
            coming = jobs[arrived][0] if arrived < len(jobs) else inf
            event = self._events[0][0] if self._events else inf
            if event <= min(coming, tick):
                moved = event
                self._handle(heappop(self._events))
                end = self._idle_until(event)
            elif coming <= tick:
                self._arrive(jobs[arrived], coming)
                arrived += 1
                moved, end = coming, self._idle_until(coming)
            else:
                acted = self._run_cycle(tick)
                moved = tick if acted else moved
                over = arrived == len(jobs) and not self._running
                pending = any(self._waiting)
                if over and (
                    tick - moved > MAX_STANDSTILL if pending else self._at_rest(tick, end)
                ):
                    break
                tick += self._every
                if not acted and not self.fleet.machines and not pending and coming > tick:
                    tick += ceil((coming - tick) / self._every) * self._every
        return self._report(tick, len(self._trace.jobs) - len(self._waits))

    def _idle_until(self, now: float) -> float:
        """Return until when a machine may stay idle after a job that ends now."""
        return now + max(
            pool.idle_for + pool.min_age + pool.billing_increment for pool in self._policy.pools
        )

    def _at_rest(self, now: float, end: float) -> bool:
        return not self.fleet.machines or now > end + 10 * self._every

    def _arrive(self, job: TraceJob, now: float) -> None:
        free = self.fleet.free
        for name in self._pools_for[job[2]]:
            slots = free.get(name)
            if slots:
                self._begin(slots.popleft(), job, now)
                return
        if now > job[0]:
            self._waiting[job[2]].appendleft(job)
        else:
            self._waiting[job[2]].append(job)

    def _begin(self, machine: SimulatedMachine, job: TraceJob, now: float) -> None:
        self._number += 1
        self._running += 1
        machine.jobs[self._number] = job
        machine.invalidate()
        heappush(self._events, (now + job[1], self._number, machine, job, now))

    def _handle(self, event: QueuedEvent) -> None:
        now, number, machine, job, began_at = event
        if machine.gone:
            return
        if job is None:
            self.resume(machine, now)
            return
        del machine.jobs[number]
        machine.invalidate()
        self._running -= 1
        self._waits.append(began_at - job[0])
        self._busy_seconds += job[1]
        machine.idle_since = now
        if machine.pool.spec.one_shot:
            self.fleet.drain(machine)
        if machine.accepts_jobs:
            waiting = self._next_job(machine)
            if waiting is None:
                self.fleet.free[machine.pool.name].append(machine)
            else:
                self._begin(machine, waiting, now)

    def resume(self, machine: SimulatedMachine, now: float) -> None:
        """Let a machine accept jobs: its agent has registered, or is resumed after a drain."""
        self.fleet.accept_jobs(machine, now)
        self._fill(machine, now)

    def _fill(self, machine: SimulatedMachine, now: float) -> None:
        slots = self.fleet.free[machine.pool.name]
        for _ in range(len(slots)):
            job = self._next_job(machine)
            if job is None:
                return
            self._begin(slots.popleft(), job, now)

    def _next_job(self, machine: SimulatedMachine) -> TraceJob | None:
        queues = [
            queue for number in self._sets_of[machine.pool.name] if (queue := self._waiting[number])
        ]
        return min(queues, key=lambda queue: queue[0][0]).popleft() if queues else None

    def _run_cycle(self, now: float) -> bool:
        """Make a plan and carry it out; return whether it did anything."""
        waiting = [
            Demand(len(queue), requires)
            for queue, requires in zip(self._waiting, self._trace.sets, strict=True)
            if queue
        ]
        agents = [machine.as_agent() for machine in self.fleet.machines.values()]
        for series, figure in zip(
            self._series, (now, len(agents), sum(each.count for each in waiting)), strict=True
        ):
            series.append(figure)
        plan = self._planner(waiting, agents, self._policy, now)
        for start in plan.starts:
            for _ in range(start.count):
                self._start(start.pool, now)
        for drain in plan.drains:
            self.fleet.drain(self.fleet.machines[drain.machine])
        for stop in plan.stops:
            self._stop(self.fleet.machines[stop.machine], now)
        return bool(plan.starts or plan.drains or plan.stops)

    def _start(self, name: str, now: float) -> None:
        machine = self.fleet.start(self._pools[name], now)
        self._number += 1
        heappush(self._events, (now + self._boot, self._number, machine, None, now))

    def _stop(self, machine: SimulatedMachine, now: float) -> None:
        self.fleet.stop(machine, now)
        self._kills += len(machine.jobs)
        self._running -= len(machine.jobs)
        # Killed jobs run again from the beginning.
        for job in machine.jobs.values():
            self._arrive(job, now)

    def _report(self, now: float, unserved: int) -> SimulationReport:
        for machine in self.fleet.machines.values():
            self.fleet.bill(machine, now)
        waits = sorted(self._waits) or [0.0]
        return SimulationReport(
            jobs=len(self._waits),
            unserved=unserved,
            machine_hours=self.fleet.seconds / HOUR,
            paid_hours=self.fleet.paid_seconds / HOUR,
            cost=self.fleet.cost,
            busy_hours=self._busy_seconds / HOUR,
            p50=_percentile(waits, 50),
            p95=_percentile(waits, 95),
            p99=_percentile(waits, 99),
            longest=waits[-1],
            kills=self._kills,
            started=self.fleet.started,
            most=self.fleet.peak,
            series=Series(*self._series),
        )


def _percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
