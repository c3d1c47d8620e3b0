"""Carries a plan out, as long as it may: machines are made, agents drained, machines taken away."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from ..core.job import WorkerInfo
from ..errors import BusyError, ConveyorError, NotFoundError, UnavailableError
from ..store.protocol import Store
from .agent_launch import machine_of
from .plan import Drain, Start, Stop
from .provider import Machine, PoolSpec, Provider
from .status import Did, Event

log = logging.getLogger("conveyor.autoscaler")

Providers = Mapping[str, Provider]

TAKEN = "it had taken a job"
# What an event's subject is.
OF: Mapping[Did, str] = {
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


class Acts:
    """What one look does. Every act is an event, and a line of the log.

    `allowed` returns why nothing may be done any more, or ""; it is asked before each act.
    """

    def __init__(self, store: Store, *, at: float, allowed: Callable[[], str]) -> None:
        self._store, self._at, self._allowed = store, at, allowed
        self.events: list[Event] = []
        self.made: list[Machine] = []
        self.drained: list[str] = []
        # pool -> why its machines could not be made, and how many may be made all the same
        self.unmade: dict[str, str] = {}
        self.unanswered: dict[str, int] = {}

    async def start(
        self, starts: Sequence[Start], specs: Mapping[str, PoolSpec], providers: Providers
    ) -> None:
        """Make machines, of all pools at once."""
        async with asyncio.TaskGroup() as group:
            for start in starts:
                spec = specs[start.pool]
                group.create_task(self._start(start, spec, providers[spec.provider]))

    async def drain(self, drains: Sequence[Drain]) -> None:
        """Tell idle agents to end: one that has taken a job meanwhile stays as it is."""
        for drain in drains:
            if not self._may("drain", drain.worker):
                continue
            try:
                told = await self._store.order(drain.worker, "drain", if_idle=True)
            except NotFoundError:
                continue  # it has said goodbye
            if told:
                self.drained.append(drain.machine)
                self.tell("drain", drain.worker, drain.why)
            else:
                self.tell("drain_refused", drain.worker, TAKEN)

    async def forget(self, workers: Mapping[str, str]) -> None:
        """Forget agents that are silent; never one that holds jobs."""
        for worker, why in workers.items():
            if not self._may("forget", worker):
                continue
            try:
                await self._store.dismiss(worker)
            except NotFoundError:
                continue
            except BusyError as error:
                self.tell("forget_refused", worker, str(error))
            else:
                self.tell("forget", worker, why)

    async def sure(self, stops: Sequence[Stop], seen: Sequence[WorkerInfo]) -> list[Stop]:
        """Return the machines that may go though some time has passed since the look.

        A silent agent claims nothing from now on, should it come back. `seen` are the agents that
        were there at the look.
        """
        if not stops:
            return []
        known = {worker.id for worker in seen}
        came = {
            machine_of(worker.labels)
            for worker in await self._store.workers()
            if worker.id not in known
        }
        may: list[Stop] = []
        for stop in stops:
            if stop.machine in came:
                self.tell("stop_refused", stop.machine, "its agent has come meanwhile")
            elif await self._is_silenced(stop):
                may.append(stop)
            else:
                self.tell("stop_refused", stop.machine, "its agent is back, and has a job")
        return may

    def stop(self, stops: Sequence[Stop], whose: Mapping[str, str]) -> dict[str, list[str]]:
        """Return which machines are to be taken away, by provider; the caller sees to it."""
        going: defaultdict[str, list[str]] = defaultdict(list)
        for stop in stops:
            if self._may("stop", stop.machine):
                going[whose[stop.machine]].append(stop.machine)
                self.tell("stop", stop.machine, stop.why)
        return going

    def tell(self, did: Did, subject: str, why: str, count: int = 1) -> None:
        """Note what was done."""
        event = Event(at=self._at, did=did, subject=subject, why=why, count=count)
        self.events.append(event)
        log_event(event)

    async def _start(self, start: Start, spec: PoolSpec, provider: Provider) -> None:
        if not self._may("start", start.pool):
            return
        try:
            made = await provider.create(spec, start.count)
        except ConveyorError as error:
            self.unmade[start.pool] = str(error)
            if isinstance(error, UnavailableError):
                self.unanswered[start.pool] = start.count
            self.tell("start_failed", start.pool, str(error), start.count)
        else:
            self.made += made
            if len(made) < start.count:
                self.unanswered[start.pool] = start.count - len(made)
            self.tell("start", start.pool, start.why, len(made))

    async def _is_silenced(self, stop: Stop) -> bool:
        try:
            order = self._store.order
            return not stop.worker or await order(stop.worker, "drain", if_idle=True)
        except NotFoundError:
            return True  # it is known no more, so it can claim nothing

    def _may(self, what: Did, subject: str) -> bool:
        """Whether there may be another act; one that is left is told of."""
        why_not = self._allowed()
        if why_not:
            self.tell("left", subject, f"no {what}: {why_not}")
        return not why_not


def log_event(event: Event) -> None:
    """Log what was done."""
    failed = event.did in ("start_failed", "stop_failed", "left")
    level = logging.WARNING if failed else logging.INFO
    # The parts in the order of the other lines: to what, how many, why.
    what = OF.get(event.did, "subject")
    log.log(
        level,
        "scale.%s %s=%s count=%d why=%s",
        event.did,
        what,
        event.subject,
        event.count,
        event.why,
    )
