"""The scaler: every few seconds it looks, decides, and acts, if it is the one that leads."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import msgspec

from ..core.access import Action
from ..core.clock import elapsed
from ..errors import ConveyorError
from ..store.messages import Leader
from ..store.protocol import Store
from .elector import Leadership
from .executor import Acts, log_event
from .plan import Plan
from .planner import decide
from .policy import Policy
from .provider import Provider
from .reconcile import REPEAT, Recalled, Times, demands, recall, worse
from .snapshot import Sight, look
from .state import NOTHING, Memory, Unanswered
from .status import EVENTS, HELD, Did, Event, Note, Status, read_note, write_note

log = logging.getLogger("conveyor.autoscaler")

# Nothing is done on what was seen longer ago than this, in seconds.
STALE = 120.0
# How many acts are kept for an audit that cannot be reached.
UNSAID = 1000


class Looked(NamedTuple):
    """One look, what it means, and what is to be done."""

    sight: Sight
    known: Recalled
    plan: Plan


class Scaler:
    """Keeps as many machines as the work needs. `async with` ends what it has begun.

    `leadership` is its claim to be the only one that acts. `elapsed` tells how much time has passed
    since some moment, in seconds.
    """

    def __init__(
        self,
        *,
        store: Store,
        providers: Mapping[str, Provider],
        policy: Policy,
        leadership: Leadership,
        times: Times,
        elapsed: Callable[[], float] = elapsed,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._store, self._providers, self._policy = store, providers, policy
        self._leadership, self._times = leadership, times
        self._elapsed, self._sleep = elapsed, sleep
        self._who = f"scaler {leadership.holder}"
        # Whom it stands by, and the term in which it leads itself.
        self._follows, self._term = "", 0
        self._memory = NOTHING
        self._events: tuple[Event, ...] = ()
        self._unsaid: list[Event] = []
        self._held: Sequence[str] = ()
        # Machines whose end is under way, and what has come of it since the last look.
        self._going: dict[str, asyncio.Task[None]] = {}
        self._ended: list[tuple[str, str]] = []
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:  # noqa: PYI036 - passed on as they are
        for task in set(self._going.values()):
            task.cancel()
        try:
            await self._group.__aexit__(*error)
        finally:
            await self._leadership.give_up()

    async def run(self) -> None:
        """Look and act until cancelled."""
        async with self:
            while True:
                await self.round()
                await self._sleep(self._times.every)

    async def round(self) -> bool:
        """Look once, and act; returns whether it did: not if it does not lead or cannot see."""
        began_at = self._elapsed()
        try:
            leader = await self._leadership.take()
            if not self._leads(leader):
                return False
            # What takes long must not cost the leadership.
            keeper = self._group.create_task(self._leadership.keep())
            try:
                await self._look(began_at)
            finally:
                keeper.cancel()
        except ConveyorError as error:
            # Whatever is out of reach may be back at the next look.
            log.warning("scale.unavailable error=%s", error)
            return False
        return True

    # -- who leads, and what it knows ----------------------------------------------------------

    def _leads(self, leader: Leader) -> bool:
        if leader.holder != self._leadership.holder:
            if self._follows != leader.holder:
                log.info("scale.standing_by leader=%s", leader.holder)
            self._follows, self._term = leader.holder, 0
            return False
        self._follows = ""
        if self._term != leader.term:
            log.info("scale.leading term=%d", leader.term)
            note = read_note(leader.note)
            self._memory = note.memory if note else NOTHING
            self._events = note.status.events if note else ()
            self._term = leader.term
        return True

    def _after_ends(self) -> Memory:
        """Return what is remembered, with what came of the ends of machines."""
        machines = dict(self._memory.machines)
        ended, self._ended = self._ended, []
        for machine, error in ended:
            did: Did = "stop_failed" if error else "stopped"
            why = error or "its provider has taken it away"
            event = Event(at=self._memory.looked_at, did=did, subject=machine, why=why)
            log_event(event)
            self._keep([event])
            if error and machine in machines:
                machines[machine] = msgspec.structs.replace(machines[machine], stop_again_at=0.0)
        return msgspec.structs.replace(self._memory, machines=machines)

    # -- acting --------------------------------------------------------------------------------

    def _allowed(self, began_at: float) -> str:
        if self._elapsed() - began_at > STALE:
            return f"what was seen is older than {STALE:g} s"
        return "" if self._leadership.held else "it does not lead any more"

    async def _look(self, began_at: float) -> None:
        self._memory = self._after_ends()
        looked = await survey(self._store, self._providers, self._policy, self._times, self._memory)
        acts = Acts(self._store, at=looked.sight.at, allowed=lambda: self._allowed(began_at))
        try:
            await self._carry_out(looked, acts)
        finally:
            self._memory = _remembering(looked, acts, self._times)
            self._keep(acts.events)
        await self._tell(looked)

    async def _carry_out(self, looked: Looked, acts: Acts) -> None:
        plan, known = looked.plan, looked.known
        whose = {
            machine.id: name
            for name, machines in looked.sight.machines.items()
            for machine in machines
        }
        stops = [stop for stop in (*plan.stops, *known.stops) if stop.machine not in self._going]
        stops = [each for each in stops if each.machine in whose]
        stops = await acts.sure(stops, looked.sight.workers)
        for name, ids in acts.stop(stops, whose).items():
            task = self._group.create_task(self._end(self._providers[name], ids))
            self._going |= dict.fromkeys(ids, task)
        await acts.drain((*plan.drains, *known.drains))
        await acts.forget(known.forgotten)
        specs = {pool.name: pool.spec for pool in self._policy.pools}
        await acts.start(plan.starts, specs, self._providers)

    async def _end(self, provider: Provider, ids: Sequence[str]) -> None:
        error = ""
        try:
            await provider.destroy(ids)
        except ConveyorError as said:
            error = str(said)
        self._ended += [(machine, error) for machine in ids]
        for machine in ids:
            del self._going[machine]

    # -- telling -------------------------------------------------------------------------------

    async def _tell(self, looked: Looked) -> None:
        """Write down how all stands, and what was done."""
        if looked.plan.held and not self._held:
            for why in looked.plan.held:
                log.info("scale.held why=%s", why)
        self._held = looked.plan.held
        status = Status(
            at=looked.sight.at,
            every=self._times.every,
            pools=looked.plan.pools,
            held=looked.plan.held[:HELD],
            blind=dict(looked.sight.blind),
            events=self._events,
        )
        await self._leadership.take(write_note(Note(status, self._memory)))
        if self._unsaid:
            await self._store.note_action([self._line(event) for event in self._unsaid])
            self._unsaid = []

    def _keep(self, events: Sequence[Event]) -> None:
        self._events = (*self._events, *events)[-EVENTS:]
        self._unsaid = [*self._unsaid, *events][-UNSAID:]

    def _line(self, event: Event) -> Action:
        count = f"{event.count}: " if event.count > 1 else ""
        return Action(
            who=self._who,
            where=socket.gethostname(),
            what=f"scale {event.did.replace('_', ' ')}",
            subject=event.subject,
            detail=f"{count}{event.why}",
        )


async def survey(
    store: Store,
    providers: Mapping[str, Provider],
    policy: Policy,
    times: Times,
    memory: Memory,
) -> Looked:
    """Look once and decide; nothing is done. UnavailableError when the store cannot be asked."""
    sight = await look(store, providers)
    known = recall(memory, sight, policy, times)
    plan = decide(demands(sight), known.agents, known.policy, sight.at, known.barred)
    return Looked(sight, known, plan)


def _remembering(looked: Looked, acts: Acts, times: Times) -> Memory:
    """Return what is known after a look, and what was begun in it."""
    memory, now = looked.known.memory, looked.sight.at
    machines = dict(memory.machines)
    for event in acts.events:
        if event.did == "stop":
            machines[event.subject] = msgspec.structs.replace(
                machines[event.subject], stop_again_at=now + REPEAT
            )
    for name in acts.drained:
        if name in machines:
            machines[name] = msgspec.structs.replace(machines[name], draining=True)
    worsened = {
        name: worse(memory.troubles.get(name), why, now, times.every)
        for name, why in acts.unmade.items()
    }
    return msgspec.structs.replace(
        memory,
        machines=machines,
        troubles=memory.troubles | worsened,
        made=(*memory.made, *acts.made),
        unanswered=(
            *memory.unanswered,
            *(Unanswered(name, count, now) for name, count in acts.unanswered.items()),
        ),
    )
