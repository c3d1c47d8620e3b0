"""The scaler: in each cycle it takes a snapshot, makes a plan and, if it leads, carries it out."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import msgspec

from ..core.access import Action
from ..core.clock import elapsed
from ..core.event_log import open_event_log
from ..errors import ConveyorError
from ..store.messages import Leader
from ..store.protocol import Store
from .elector import Elector
from .executor import PlanExecutor, log_event
from .intervals import Intervals
from .machine_tracker import STOP_AGAIN_AFTER
from .plan import Plan
from .planner import make_plan
from .policy import Policy
from .pool_backoff import next_backoff
from .provider import Provider
from .reconcile import Reconciled, demands_in, reconcile
from .snapshot import Snapshot, take_snapshot
from .state import EMPTY_STATE, ScalerState, UnansweredCreate
from .status import (
    MAX_HELD,
    EventKind,
    ScalerEvent,
    ScalerNote,
    ScalerStatus,
    ScalerTally,
    add_events,
    add_tally,
    decode_note,
    encode_note,
    tally_of,
)

log = open_event_log("autoscaler")

# No action is taken on a snapshot that is older than this, in seconds.
MAX_SNAPSHOT_AGE = 120.0
# How many events wait for an audit log that cannot be reached.
MAX_UNAUDITED = 1000


class Cycle(NamedTuple):
    """A snapshot, what follows from it, and the plan."""

    snapshot: Snapshot
    reconciled: Reconciled
    plan: Plan


class Scaler:
    """Keeps as many machines as the jobs need. `async with` ends its background tasks.

    `elector` decides whether it acts. `elapsed` is a monotonic clock in seconds.
    """

    def __init__(
        self,
        *,
        store: Store,
        providers: Mapping[str, Provider],
        policy: Policy,
        elector: Elector,
        intervals: Intervals,
        elapsed: Callable[[], float] = elapsed,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._store, self._providers, self._policy = store, providers, policy
        self._elector, self._intervals = elector, intervals
        self._elapsed, self._sleep = elapsed, sleep
        self._actor = f"scaler {elector.holder}"
        # The leader while this scaler stands by; its own term while it leads.
        self._other_leader, self._term = "", 0
        self._state = EMPTY_STATE
        self._events: tuple[ScalerEvent, ...] = ()
        self._tallies: tuple[ScalerTally, ...] = ()
        self._unaudited: list[ScalerEvent] = []
        self._held: Sequence[str] = ()
        # Machines that are being destroyed, and the results since the last cycle: (id, error).
        self._stopping: dict[str, asyncio.Task[None]] = {}
        self._stopped: list[tuple[str, str]] = []
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:  # noqa: PYI036 - passed on as they are
        for task in set(self._stopping.values()):
            task.cancel()
        try:
            await self._group.__aexit__(*error)
        finally:
            await self._elector.resign()

    async def run(self) -> None:
        """Run cycles until cancelled."""
        async with self:
            while True:
                await self.run_cycle()
                await self._sleep(self._intervals.every)

    async def run_cycle(self) -> bool:
        """Run one cycle; return whether it was carried out: not without the lead or the store."""
        began_at = self._elapsed()
        try:
            leader = await self._elector.acquire()
            if not self._is_leader(leader):
                return False
            # A long cycle must not cost the leadership.
            renewal = self._group.create_task(self._elector.renew_until_cancelled())
            try:
                await self._lead_cycle(began_at)
            finally:
                renewal.cancel()
        except ConveyorError as error:
            # The next cycle tries again.
            log.warning("scale.unavailable error=%s", error)
            return False
        return True

    # -- leadership and state ------------------------------------------------------------------

    def _is_leader(self, leader: Leader) -> bool:
        """Whether this scaler leads; at the start of a term it loads the stored state."""
        if leader.holder != self._elector.holder:
            if self._other_leader != leader.holder:
                log.info("scale.standing_by leader=%s", leader.holder)
            self._other_leader, self._term = leader.holder, 0
            return False
        self._other_leader = ""
        if self._term != leader.term:
            log.info("scale.leading term=%d", leader.term)
            note = decode_note(leader.note)
            self._state = note.memory if note else EMPTY_STATE
            self._events = note.status.events if note else ()
            self._tallies = note.status.tallies if note else ()
            self._term = leader.term
        return True

    def _with_stop_results(self) -> ScalerState:
        """Return the state with the results of the stops since the last cycle."""
        machines = dict(self._state.machines)
        stopped, self._stopped = self._stopped, []
        for machine, error in stopped:
            did: EventKind = "stop_failed" if error else "stopped"
            why = error or "its provider has removed it"
            event = ScalerEvent(at=self._state.looked_at, did=did, subject=machine, why=why)
            log_event(event)
            self._add_events([event])
            if error and machine in machines:
                machines[machine] = msgspec.structs.replace(machines[machine], stop_again_at=0.0)
        return msgspec.structs.replace(self._state, machines=machines)

    # -- carrying out the plan -----------------------------------------------------------------

    def _why_not(self, began_at: float) -> str:
        """Return why no action is allowed any more, or ""."""
        if self._elapsed() - began_at > MAX_SNAPSHOT_AGE:
            return f"the snapshot is older than {MAX_SNAPSHOT_AGE:g} s"
        return "" if self._elector.is_leader else "this scaler no longer leads"

    async def _lead_cycle(self, began_at: float) -> None:
        self._state = self._with_stop_results()
        cycle = await plan_cycle(
            self._store, self._providers, self._policy, self._intervals, self._state
        )
        executor = PlanExecutor(
            self._store, at=cycle.snapshot.at, why_not=lambda: self._why_not(began_at)
        )
        try:
            await self._carry_out(cycle, executor)
        finally:
            self._state = _state_after(cycle, executor, self._intervals)
            self._add_events(executor.events)
        await self._publish(cycle)

    async def _carry_out(self, cycle: Cycle, executor: PlanExecutor) -> None:
        plan, reconciled = cycle.plan, cycle.reconciled
        provider_of = {
            machine.id: name
            for name, machines in cycle.snapshot.machines.items()
            for machine in machines
        }
        stops = [
            stop
            for stop in (*plan.stops, *reconciled.stops)
            if stop.machine in provider_of and stop.machine not in self._stopping
        ]
        stops = await executor.recheck_stops(stops, cycle.snapshot.workers)
        for name, ids in executor.begin_stops(stops, provider_of).items():
            task = self._group.create_task(self._destroy(self._providers[name], ids))
            self._stopping |= dict.fromkeys(ids, task)
        await executor.drain_agents((*plan.drains, *reconciled.drains))
        await executor.forget_agents(reconciled.forgotten)
        specs = {pool.name: pool.spec for pool in self._policy.pools}
        await executor.start_machines(plan.starts, specs, self._providers)

    async def _destroy(self, provider: Provider, ids: Sequence[str]) -> None:
        message = ""
        try:
            await provider.destroy(ids)
        except ConveyorError as error:
            message = str(error)
        self._stopped += [(machine, message) for machine in ids]
        for machine in ids:
            del self._stopping[machine]

    # -- status and audit ----------------------------------------------------------------------

    async def _publish(self, cycle: Cycle) -> None:
        """Store the status and the state, and send the events to the audit log."""
        if cycle.plan.held and not self._held:
            for why in cycle.plan.held:
                log.info("scale.held why=%s", why)
        self._held = cycle.plan.held
        tally = tally_of(cycle.snapshot.at, cycle.snapshot.loads, cycle.plan.pools)
        self._tallies = add_tally(self._tallies, tally)
        status = ScalerStatus(
            at=cycle.snapshot.at,
            every=self._intervals.every,
            pools=cycle.plan.pools,
            held=cycle.plan.held[:MAX_HELD],
            blind=dict(cycle.snapshot.unreachable),
            events=self._events,
            tallies=self._tallies,
        )
        await self._elector.acquire(encode_note(ScalerNote(status, self._state)))
        if self._unaudited:
            await self._store.note_action([self._audit_action(each) for each in self._unaudited])
            self._unaudited = []

    def _add_events(self, events: Sequence[ScalerEvent]) -> None:
        self._events = add_events(self._events, events)
        self._unaudited = [*self._unaudited, *events][-MAX_UNAUDITED:]

    def _audit_action(self, event: ScalerEvent) -> Action:
        count = f"{event.count}: " if event.count > 1 else ""
        return Action(
            who=self._actor,
            where=socket.gethostname(),
            what=f"scale {event.did.replace('_', ' ')}",
            subject=event.subject,
            detail=f"{count}{event.why}",
        )


async def plan_cycle(
    store: Store,
    providers: Mapping[str, Provider],
    policy: Policy,
    intervals: Intervals,
    state: ScalerState,
) -> Cycle:
    """Take a snapshot and make a plan, without acting; UnavailableError without the store."""
    snapshot = await take_snapshot(store, providers)
    reconciled = reconcile(state, snapshot, policy, intervals)
    plan = make_plan(
        demands_in(snapshot),
        reconciled.agents,
        reconciled.policy,
        snapshot.at,
        reconciled.blocked,
    )
    return Cycle(snapshot, reconciled, plan)


def _state_after(cycle: Cycle, executor: PlanExecutor, intervals: Intervals) -> ScalerState:
    """Return the state after a cycle, with the actions that were begun."""
    state, now = cycle.reconciled.state, cycle.snapshot.at
    machines = dict(state.machines)
    for event in executor.events:
        if event.did == "stop":
            machines[event.subject] = msgspec.structs.replace(
                machines[event.subject], stop_again_at=now + STOP_AGAIN_AFTER
            )
    for name in executor.drained:
        if name in machines:
            machines[name] = msgspec.structs.replace(machines[name], draining=True)
    backoffs = {
        name: next_backoff(state.troubles.get(name), why, now, intervals.every)
        for name, why in executor.failed_starts.items()
    }
    return msgspec.structs.replace(
        state,
        machines=machines,
        troubles=state.troubles | backoffs,
        made=(*state.made, *executor.created),
        unanswered=(
            *state.unanswered,
            *(UnansweredCreate(name, count, now) for name, count in executor.unanswered.items()),
        ),
    )
