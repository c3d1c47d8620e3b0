"""Replays a trace of jobs against a policy in virtual time: what it costs, and who waits.

The oldest job goes first, to the slot that has been free for longest of the pool with the fewest
labels that has one. All machines take as long to boot. The scaler looks at exact figures.
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
from .planner import decide
from .policy import HOUR, Policy
from .simulated_fleet import Fleet, Simulated
from .workload import Job, Trace

Decide = Callable[[Sequence[Demand], Sequence[Agent], Policy, float], Plan]
# When, a number that tells events of one moment apart, the machine, and the job that it has run
# with the time when that started; no job: the machine's agent is there.
Event = tuple[float, int, Simulated, Job | None, float]
# So long nothing may happen while jobs wait, before the rest is called unserved.
PATIENCE = 6 * HOUR


class Series(msgspec.Struct, frozen=True):
    """How many machines there were and how many jobs waited, each time the scaler looked."""

    at: Sequence[float]
    machines: Sequence[float]
    waiting: Sequence[float]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a simulation found. Waiting is in seconds, until the start of the run that completed.

    `paid_hours` are machine hours in whole billing increments. `kills` are jobs that were running
    on a machine when it was taken away. `unserved` jobs never ran: no machine may run them.
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
    decide: Decide = decide,
    every: float = 10.0,
    boot: float = 60.0,
) -> Report:
    """Replay a trace; `boot` is how long a machine takes until its agent is there, in seconds."""
    return Simulation(trace, policy, decide=decide, every=every, boot=boot).run()


class Simulation:
    """One replay. Scalers that are compared may do by `reopen` what no plan says."""

    def __init__(
        self, trace: Trace, policy: Policy, *, decide: Decide, every: float, boot: float
    ) -> None:
        self.fleet = Fleet()
        self._trace = trace
        self._policy = policy
        self._pools = {pool.name: pool for pool in policy.pools}
        self._decide = decide
        self._every = every
        self._boot = boot
        self._events: list[Event] = []
        self._number = 0
        self._running = 0
        self._kills = 0
        self._busy_seconds = 0.0
        self._waits = array("d")
        self._waiting: list[deque[Job]] = [deque() for _ in trace.sets]
        # Which pools run which label set, those first that fewest others can use; and back.
        self._servers = [
            [
                pool.name
                for pool in sorted(policy.pools, key=lambda pool: len(pool.spec.offers))
                if serves(frozenset(pool.spec.offers), requires)
            ]
            for requires in trace.sets
        ]
        self._served = {
            name: [number for number, servers in enumerate(self._servers) if name in servers]
            for name in self._pools
        }
        self._series = (array("d"), array("d"), array("d"))

    def run(self) -> Report:
        """Replay it all, and on until the machines have gone that the policy lets go."""
        jobs = [job for job in self._trace.jobs if self._servers[job[2]]]
        tick = jobs[0][0] if jobs else 0.0
        end, moved = self._tail(tick), tick
        arrived = 0
        while True:
            coming = jobs[arrived][0] if arrived < len(jobs) else inf
            event = self._events[0][0] if self._events else inf
            if event <= min(coming, tick):
                moved = event
                self._happen(heappop(self._events))
                end = self._tail(event)
            elif coming <= tick:
                self._arrive(jobs[arrived], coming)
                arrived += 1
                moved, end = coming, self._tail(coming)
            else:
                acted = self._look(tick)
                moved = tick if acted else moved
                over = arrived == len(jobs) and not self._running
                pending = any(self._waiting)
                if over and (tick - moved > PATIENCE if pending else self._at_rest(tick, end)):
                    break
                tick += self._every
                if not acted and not self.fleet.machines and not pending and coming > tick:
                    tick += ceil((coming - tick) / self._every) * self._every
        return self._report(tick, len(self._trace.jobs) - len(self._waits))

    def _tail(self, now: float) -> float:
        """Say until when a machine may stand idle that has ended its last job now."""
        return now + max(
            pool.idle_for + pool.min_age + pool.billing_increment for pool in self._policy.pools
        )

    def _at_rest(self, now: float, end: float) -> bool:
        return not self.fleet.machines or now > end + 10 * self._every

    def _arrive(self, job: Job, now: float) -> None:
        free = self.fleet.free
        for name in self._servers[job[2]]:
            slots = free.get(name)
            if slots:
                self._begin(slots.popleft(), job, now)
                return
        if now > job[0]:
            self._waiting[job[2]].appendleft(job)
        else:
            self._waiting[job[2]].append(job)

    def _begin(self, machine: Simulated, job: Job, now: float) -> None:
        self._number += 1
        self._running += 1
        machine.jobs[self._number] = job
        machine.changed()
        heappush(self._events, (now + job[1], self._number, machine, job, now))

    def _happen(self, event: Event) -> None:
        now, number, machine, job, began_at = event
        if machine.gone:
            return
        if job is None:
            self.reopen(machine, now)
            return
        del machine.jobs[number]
        machine.changed()
        self._running -= 1
        self._waits.append(began_at - job[0])
        self._busy_seconds += job[1]
        machine.since = now
        if machine.pool.spec.one_shot:
            self.fleet.drain(machine)
        if machine.takes:
            waiting = self._next(machine)
            if waiting is None:
                self.fleet.free[machine.pool.name].append(machine)
            else:
                self._begin(machine, waiting, now)

    def reopen(self, machine: Simulated, now: float) -> None:
        """Let a machine take jobs: its agent is there, or is told to go on after a drain."""
        self.fleet.open(machine, now)
        self._fill(machine, now)

    def _fill(self, machine: Simulated, now: float) -> None:
        slots = self.fleet.free[machine.pool.name]
        for _ in range(len(slots)):
            job = self._next(machine)
            if job is None:
                return
            self._begin(slots.popleft(), job, now)

    def _next(self, machine: Simulated) -> Job | None:
        queues = [
            queue for number in self._served[machine.pool.name] if (queue := self._waiting[number])
        ]
        return min(queues, key=lambda queue: queue[0][0]).popleft() if queues else None

    def _look(self, now: float) -> bool:
        """Let the scaler look and act; say whether it did anything."""
        waiting = [
            Demand(len(queue), requires)
            for queue, requires in zip(self._waiting, self._trace.sets, strict=True)
            if queue
        ]
        agents = [machine.view() for machine in self.fleet.machines.values()]
        for series, figure in zip(
            self._series, (now, len(agents), sum(each.count for each in waiting)), strict=True
        ):
            series.append(figure)
        plan = self._decide(waiting, agents, self._policy, now)
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

    def _stop(self, machine: Simulated, now: float) -> None:
        self.fleet.stop(machine, now)
        self._kills += len(machine.jobs)
        self._running -= len(machine.jobs)
        # What was killed runs again, from its beginning.
        for job in machine.jobs.values():
            self._arrive(job, now)

    def _report(self, now: float, unserved: int) -> Report:
        for machine in self.fleet.machines.values():
            self.fleet.bill(machine, now)
        waits = sorted(self._waits) or [0.0]
        return Report(
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
            most=self.fleet.most,
            series=Series(*self._series),
        )


def _percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
