"""Carries out a plan: starts machines, drains agents, stops machines."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from ..core.event_log import open_event_log
from ..core.job import WorkerInfo
from ..errors import BusyError, ConveyorError, NotFoundError, UnavailableError
from ..store.call_style import AsyncCalls
from ..store.page_walk import read_workers
from ..store.protocol import Store
from .agent_launch import machine_of
from .plan import DrainAgent, StartMachines, StopMachine
from .provider import Machine, PoolSpec, Provider
from .status import EventKind, ScalerEvent

log = open_event_log("autoscaler")

Providers = Mapping[str, Provider]

# The log field that holds an event's subject.
SUBJECT_FIELDS: Mapping[EventKind, str] = {
    "start": "pool",
    "start_failed": "pool",
    "drain": "worker",
    "drain_refused": "worker",
    "stop": "machine",
    "stopped": "machine",
    "stop_failed": "machine",
    "stop_refused": "machine",
    "forget": "worker",
    "forget_refused": "worker",
}


class PlanExecutor:
    """The actions of one cycle. Each is an event and a log line.

    `why_not` is called before each action; it returns why no action is allowed now, or "".
    """

    def __init__(self, store: Store, *, at: float, why_not: Callable[[], str]) -> None:
        self._store, self._at, self._why_not = store, at, why_not
        self.events: list[ScalerEvent] = []
        self.created: list[Machine] = []
        # Machines whose agents were ordered to drain.
        self.drained: list[str] = []
        # pool -> why machines could not be created, and how many may be created nevertheless
        self.failed_starts: dict[str, str] = {}
        self.unanswered: dict[str, int] = {}

    async def start_machines(
        self, starts: Sequence[StartMachines], specs: Mapping[str, PoolSpec], providers: Providers
    ) -> None:
        """Create machines, for all pools concurrently."""
        async with asyncio.TaskGroup() as group:
            for start in starts:
                spec = specs[start.pool]
                group.create_task(self._start_pool(start, spec, providers[spec.provider]))

    async def drain_agents(self, drains: Sequence[DrainAgent]) -> None:
        """Drain agents that are still idle; one that has claimed a job keeps running."""
        for drain in drains:
            if not self._is_allowed("drain", drain.worker):
                continue
            try:
                drained = await self._store.order(drain.worker, "drain", if_idle=True)
            except NotFoundError:
                continue  # it has left
            if drained:
                self.drained.append(drain.machine)
                self.record("drain", drain.worker, drain.why)
            else:
                self.record("drain_refused", drain.worker, "it has claimed a job")

    async def forget_agents(self, agents: Mapping[str, str]) -> None:
        """Remove dead agents from the store, by id with the reason."""
        for worker, why in agents.items():
            if not self._is_allowed("forget", worker):
                continue
            try:
                await self._store.dismiss(worker)
            except NotFoundError:
                continue
            except BusyError as error:
                self.record("forget_refused", worker, str(error))
            else:
                self.record("forget", worker, why)

    async def recheck_stops(
        self, stops: Sequence[StopMachine], known: Sequence[WorkerInfo]
    ) -> list[StopMachine]:
        """Return the stops that are still safe, some time after the snapshot.

        `known` are the workers in the snapshot: a machine whose agent registered since stays. A
        silent agent is drained first, so that it claims nothing should it come back.
        """
        if not stops:
            return []
        known_ids = {worker.id for worker in known}
        registered_since = {
            machine_of(worker.labels)
            for worker in await read_workers(AsyncCalls(), self._store)
            if worker.id not in known_ids
        }
        safe: list[StopMachine] = []
        for stop in stops:
            if stop.machine in registered_since:
                self.record("stop_refused", stop.machine, "its agent has registered meanwhile")
            elif await self._drain_silent(stop):
                safe.append(stop)
            else:
                self.record("stop_refused", stop.machine, "its agent is back and has a job")
        return safe

    def begin_stops(
        self, stops: Sequence[StopMachine], provider_of: Mapping[str, str]
    ) -> dict[str, list[str]]:
        """Return the machines to destroy, by provider; the caller destroys them."""
        machines: defaultdict[str, list[str]] = defaultdict(list)
        for stop in stops:
            if self._is_allowed("stop", stop.machine):
                machines[provider_of[stop.machine]].append(stop.machine)
                self.record("stop", stop.machine, stop.why)
        return machines

    def record(self, did: EventKind, subject: str, why: str, count: int = 1) -> None:
        """Record an action as an event."""
        event = ScalerEvent(at=self._at, did=did, subject=subject, why=why, count=count)
        self.events.append(event)
        log_event(event)

    async def _start_pool(self, start: StartMachines, spec: PoolSpec, provider: Provider) -> None:
        if not self._is_allowed("start", start.pool):
            return
        try:
            created = await provider.create(spec, start.count)
        except ConveyorError as error:
            self.failed_starts[start.pool] = str(error)
            if isinstance(error, UnavailableError):
                self.unanswered[start.pool] = start.count
            self.record("start_failed", start.pool, str(error), start.count)
        else:
            self.created += created
            if len(created) < start.count:
                self.unanswered[start.pool] = start.count - len(created)
            self.record("start", start.pool, start.why, len(created))

    async def _drain_silent(self, stop: StopMachine) -> bool:
        """Return whether no agent can claim jobs on the machine any more."""
        if not stop.worker:
            return True
        try:
            return await self._store.order(stop.worker, "drain", if_idle=True)
        except NotFoundError:
            return True

    def _is_allowed(self, action: EventKind, subject: str) -> bool:
        why_not = self._why_not()
        if why_not:
            self.record("left", subject, f"no {action}: {why_not}")
        return not why_not


def log_event(event: ScalerEvent) -> None:
    """Log an action."""
    failed = event.did in ("start_failed", "stop_failed", "left")
    log.log(
        logging.WARNING if failed else logging.INFO,
        "scale.%s %s=%s count=%d why=%s",
        event.did,
        SUBJECT_FIELDS.get(event.did, "subject"),
        event.subject,
        event.count,
        event.why,
    )
