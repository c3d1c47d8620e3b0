"""Rescues the jobs of dead workers and of expired leases."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from ..core.event_log import open_event_log
from ..core.job import WorkerInfo
from ..job_log import OnDiscard, log_discards
from ..store.call_style import AsyncCalls
from ..store.page_walk import read_workers
from ..store.protocol import Store
from ..system import crash_journal
from ..system.process_identity import boot_id, is_dead

log = open_event_log("rescuer")

BATCH = 1000
# How long the sidecar of a dead worker gets to return its jobs, where no lock shows that the
# sidecar is dead too.
SIDECAR_TIME = 5.0
# How long the jobs of a dead worker are looked for where its last call may still be on the network,
# or in the server's queue: a claim can be committed after the process that sent it is gone.
LATE_CALLS = 5.0
# A worker that was silent for this long is removed from the store; its jobs follow their leases.
REMOVE_AFTER = 600.0
# How many journals of other stores are remembered.
MOST_FOREIGN = 10_000
# A difference, in seconds, between the store's clock and a monotonic one that is a step, not drift,
# and how long leases are not judged after it: their workers renew them meanwhile.
STEP, UNJUDGED_FOR = 5.0, 60.0


class Rescuer:
    """Ends the attempts of jobs whose worker is gone, and removes such workers from the store.

    `is_dead` and `has_died` check whether a worker is surely dead, by its process and by the lock
    on its crash journal; `read_journal` returns the jobs that it had started. The list of workers
    is read with each sweep and when a lock shows that it may help, because a hundred workers that
    each read it every second are most of what they cost a server. Until then `find_unlocked` looks
    for journals of workers that are not in it. `on_rescued` gets the ids of jobs whose attempts
    were ended, and `on_discard` those that this has discarded.
    """

    def __init__(
        self,
        store: Store,
        *,
        worker: str,
        elapsed: Callable[[], float],
        is_dead: Callable[[WorkerInfo, str], bool] = is_dead,
        has_died: Callable[[WorkerInfo, str, str], bool] = crash_journal.has_died,
        read_journal: Callable[[str, str], Collection[str] | None] = crash_journal.read,
        find_unlocked: Callable[[str, Collection[str]], frozenset[str]] = (
            crash_journal.find_unlocked
        ),
    ) -> None:
        self._store = store
        self._worker = worker
        self._elapsed = elapsed
        self._is_dead = is_dead
        self._has_died = has_died
        self._read_journal = read_journal
        self._find_unlocked = find_unlocked
        # The other workers when the list was last read, and the unlocked journals of none of them:
        # those of the last sweep, and those of several sweeps, which belong to other stores.
        self._others: Sequence[WorkerInfo] = ()
        self._unlocked: frozenset[str] = frozenset()
        self._foreign: frozenset[str] = frozenset()
        self._boot_id = boot_id()
        # The workers whose process is gone, and since when that is known.
        self._gone_since: dict[str, float] = {}
        # The workers whose jobs were returned, and since when.
        self._returned_since: dict[str, float] = {}
        self._late_calls = LATE_CALLS if store.can_be_partitioned else 0.0
        self._clock_offset: float | None = None
        self._judges_from = 0.0
        self.on_rescued: Callable[[Sequence[str]], object] = len
        self.on_discard: OnDiscard | None = None

    async def rescue(self, *, expired: bool) -> None:
        """Rescue the jobs of dead workers; with `expired`, or if there are any, of leases too.

        Leases are not judged after the store's clock was set forward: not beside a dead worker
        either, which says nothing about the others.
        """
        store, folder = self._store, self._store.folder
        if folder and not expired and not self._has_news(folder):
            return
        workers = await self._read_others(is_sweep=expired)
        silent_since = store.now() - REMOVE_AFTER
        dead = self._dead(workers, folder)
        judges = not self._is_clock_doubtful()
        if not dead and not (expired and judges):
            return
        rescued = await store.rescue(limit=BATCH) if judges else []
        for worker in workers:
            if worker.id in dead and len(rescued) < BATCH:
                begun = self._read_journal(folder, worker.begun)
                left = BATCH - len(rescued)
                rescued += await store.rescue(dead=[worker.id], begun=begun, limit=left)
        if rescued:
            log.warning("jobs.rescued count=%d dead_workers=%d", len(rescued), len(dead))
            log_discards(store.discards, self.on_discard)
            self.on_rescued(rescued)
        if len(rescued) == BATCH:
            return
        gone = self._gone(dead)
        for worker in workers:
            if worker.id in gone or worker.beat_at < silent_since:
                await store.leave(worker.id)
                crash_journal.remove(folder, worker.begun)
                self._forget(worker.id)

    def peers(self, within: float) -> int:
        """Return how many workers use the store themselves and sent a beat in the last seconds."""
        since = self._store.now() - within
        # One behind a server has no journal beside the store.
        return 1 + sum(bool(each.begun) and each.beat_at >= since for each in self._others)

    def _forget(self, worker: str) -> None:
        self._others = [each for each in self._others if each.id != worker]
        self._returned_since.pop(worker, None)

    def _has_news(self, folder: str) -> bool:
        """Whether a worker of this machine seems to be dead, a known one or a new one."""
        known = {each.begun for each in self._others}
        return bool(
            self._dead(self._others, folder) or self._find_unlocked(folder, known | self._foreign)
        )

    async def _read_others(self, *, is_sweep: bool) -> Sequence[WorkerInfo]:
        workers = await read_workers(AsyncCalls(), self._store)
        self._others = [each for each in workers if each.id != self._worker]
        if is_sweep:
            if len(self._foreign) > MOST_FOREIGN:
                self._foreign = frozenset()
            known = {each.begun for each in workers}
            unlocked = self._find_unlocked(self._store.folder, known | self._foreign)
            # A journal that is being created is unlocked for a moment.
            self._foreign |= unlocked & self._unlocked
            self._unlocked = unlocked - self._foreign
        return self._others

    def _gone(self, dead: frozenset[str]) -> list[str]:
        """Return the dead workers of which no call can arrive any more."""
        now = self._elapsed()
        known = self._returned_since
        self._returned_since = {worker: known.get(worker, now) for worker in dead}
        return [
            worker
            for worker, since in self._returned_since.items()
            if now - since >= self._late_calls
        ]

    def _is_clock_doubtful(self) -> bool:
        """Whether the store's clock was set forward a moment ago, so that leases seem expired."""
        now = self._elapsed()
        before, self._clock_offset = self._clock_offset, self._store.now() - now
        if before is not None and self._clock_offset - before > STEP:
            self._judges_from = now + UNJUDGED_FOR
            log.warning(
                "clock.stepped seconds=%.0f leases_unjudged_for=%.0f",
                self._clock_offset - before,
                UNJUDGED_FOR,
            )
        return now < self._judges_from

    def _dead(self, others: Sequence[WorkerInfo], folder: str) -> frozenset[str]:
        """Return the ids of the dead workers whose sidecar, if any, does not return their jobs."""
        now = self._elapsed()
        gone = [each.id for each in others if self._is_dead(each, self._boot_id)]
        self._gone_since = {worker: self._gone_since.get(worker, now) for worker in gone}
        waited = [name for name, since in self._gone_since.items() if now - since >= SIDECAR_TIME]
        unlocked = [each.id for each in others if self._has_died(each, folder, self._boot_id)]
        return frozenset([*unlocked, *waited])
