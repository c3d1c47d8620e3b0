"""Runs the maintenance services of a store beside a worker or a server.

Every worker does it; the store makes sure that nothing happens twice. Where the store maintains
itself, a worker only sends its heartbeat.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence

from ..core.clock import elapsed
from ..core.event_log import open_event_log
from ..core.job import State, TaskDefaults, WorkerInfo
from ..core.retry import Draw
from ..core.timeout import wait_for_event
from ..errors import ConveyorError
from ..job_log import OnDiscard, log_discards
from ..store.protocol import Store
from .heartbeat import WorkerHeartbeat
from .pruner import RETENTION, Pruner
from .rescuer import Rescuer
from .schedule_ticker import Schedule, ScheduleTicker
from .stager import Stager

log = open_event_log("maintenance")

# A dead worker's jobs must be available again within seconds.
ROUND_EVERY = 1.0
# Heartbeats, expired jobs, expired leases and silent offers can wait a little.
SWEEP_EVERY = 5.0


# If more workers than this share the upkeep, each sweeps more rarely, and up to so many times.
SHARERS, RAREST = 20, 3.0
# A worker that has missed so many heartbeats counts no more.
MISSED = 3


def pace(peers: int, drawn: float) -> float:
    """Return how many times as long as alone a worker waits from sweep to sweep.

    All workers of a store do the same, so a hundred of them need not do it five times as often as
    twenty. `drawn` is from 0 to 1: those that were started together do not stay in step.
    """
    times = min(peers / SHARERS, RAREST)
    return 1.0 if times <= 1.0 else times * (0.75 + drawn / 2)


class MaintenanceLoop:
    """A round of all services every second, or earlier when a job becomes due.

    The first round declares `tasks`. `sweep_every` is how often, in seconds, it sends a heartbeat
    and does what can wait a little; the latter more rarely if many workers share it (`is_shared`).
    `after_round` is called after each round without an error, and `on_discard` with each job that
    was discarded without an attempt, and why.
    """

    def __init__(
        self,
        *,
        store: Store,
        heartbeat: WorkerHeartbeat,
        stager: Stager,
        rescuer: Rescuer,
        ticker: ScheduleTicker,
        tasks: Sequence[TaskDefaults] = (),
        pruner: Pruner,
        sweep_every: float = SWEEP_EVERY,
        is_shared: bool = False,
        draw: Draw = random.random,
        elapsed: Callable[[], float] = elapsed,
        after_round: Callable[[WorkerInfo], None] | None = None,
    ) -> None:
        self._store = store
        self.heartbeat = heartbeat
        self._stager = stager
        self.rescuer = rescuer
        self._ticker = ticker
        self._undeclared = tasks
        self.pruner = pruner
        self._sweep_every = sweep_every
        self._is_shared = is_shared
        self._draw = draw
        self._elapsed = elapsed
        self._after_round = after_round
        self.on_discard: OnDiscard | None = None
        self._woken = asyncio.Event()
        self._beat_due = self._sweep_due = 0.0
        self.rounds = 0

    def wake(self, *, sweep: bool = False) -> None:
        """Do a round soon: a job may be due earlier than was known. `sweep`: a heartbeat too."""
        if sweep:
            self._beat_due = self._sweep_due = 0.0
        self._woken.set()

    async def run(self) -> None:
        """Do rounds until cancelled."""
        try:
            while True:
                await self._try_round()
                self._note_discards()
                if await wait_for_event(self._woken, self._pause()):
                    # Many jobs that fail at once must not cause as many rounds.
                    await asyncio.sleep(0.01)
        finally:
            self._note_discards()

    def _note_discards(self) -> None:
        log_discards(self._store.discards, self.on_discard)

    async def _try_round(self) -> None:
        try:
            await self.round()
            if self._after_round is not None:
                self._after_round(self.heartbeat.describe())
        except ConveyorError as error:
            log.error("maintenance.failed error=%s", error)  # noqa: TRY400 - no traceback helps here

    async def round(self) -> None:
        """Run each service once, if it is due."""
        now = self._elapsed()
        woken = self._woken.is_set()
        beats = now >= self._beat_due or self.heartbeat.has_request
        # What happens during this round may come too late for it.
        self._woken.clear()
        declares = self._undeclared and not self._store.maintains_itself
        # Both are sent at once, so that they reach the store before this worker's first claim.
        declaring = self._store.put_tasks(self._undeclared) if declares else None
        if beats:
            self._beat_due = now + self._sweep_every
            await self.heartbeat.beat()
        if declaring is not None:
            await declaring
            self._undeclared = ()
        if not self._store.maintains_itself:
            await self._maintain(now, woken=woken)
        self.rounds += 1

    async def stage(self) -> bool:
        """Make due jobs available unless the store does that itself; return if there were any."""
        return not self._store.maintains_itself and await self._stager.stage()

    async def _maintain(self, now: float, *, woken: bool) -> None:
        await self._ticker.register()
        sweeps = now >= self._sweep_due
        due_at = self._stager.next_due_at
        if sweeps or woken or (due_at is not None and due_at <= self._store.now()):
            await self._stager.stage()
        await self.rescuer.rescue(expired=sweeps)
        times = (
            pace(self.rescuer.peers(MISSED * self._sweep_every), self._draw())
            if self._is_shared
            else 1.0
        )
        if sweeps:
            self._sweep_due = now + times * self._sweep_every
        await self._ticker.tick()
        await self.pruner.prune_if_due(times)

    def _pause(self) -> float:
        due_at = self._stager.next_due_at
        if due_at is None:
            return ROUND_EVERY
        return min(ROUND_EVERY, max(0.001, due_at - self._store.now()))


def maintenance_loop(
    store: Store,
    describe: Callable[[], WorkerInfo],
    *,
    schedules: Sequence[Schedule] = (),
    tasks: Sequence[TaskDefaults] = (),
    retention: Mapping[State, float] = RETENTION,
    rescuer: Rescuer | None = None,
    sweep_every: float = SWEEP_EVERY,
    is_shared: bool = False,
    draw: Draw = random.random,
    elapsed: Callable[[], float] = elapsed,
    after_round: Callable[[WorkerInfo], None] | None = None,
) -> MaintenanceLoop:
    """Make the loop of a worker, or of a server, with all services."""
    return MaintenanceLoop(
        store=store,
        heartbeat=WorkerHeartbeat(store, describe),
        stager=Stager(store),
        rescuer=rescuer or Rescuer(store, worker=describe().id, elapsed=elapsed),
        ticker=ScheduleTicker(store, schedules),
        tasks=tasks,
        pruner=Pruner(store, retention=retention, elapsed=elapsed),
        sweep_every=sweep_every,
        is_shared=is_shared,
        draw=draw,
        elapsed=elapsed,
        after_round=after_round,
    )
