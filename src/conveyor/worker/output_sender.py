"""Takes what running jobs write and say to the store: a few times a second, and before they end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from ..core.pending import Pending
from ..errors import ConveyorError, UnavailableError
from ..runners.capture import OutputBuffer
from ..store.messages import Lease, Renewal, Report
from ..store.protocol import WorkerStore

log = logging.getLogger("conveyor.output_sender")

FLUSH = 0.2
# At most so many bytes of output go over a network at once, and for so long, in seconds, what no
# answer came to is sent again. By then its lease is over.
LOAD = 512 << 10
KEEP = 120.0
# How often the last word is tried, and the pause in between.
TRIES, PAUSE = 4, 0.1

Send = Callable[[], Pending[list[Renewal]]]
Shipment = list[tuple["_Parcel", Pending[list[Renewal]]]]


class Shipping:
    """Empties an output buffer into the store, from `wake` on, as long as any job is `running`.

    `in_order` says that the store keeps the order of calls. Where it does not, over a network, one
    thing goes after the other, and again after a break: what came twice is kept once. `learn` is
    told of each job of which the store says by the way that it is not to go on.
    """

    def __init__(
        self,
        *,
        store: WorkerStore,
        output: OutputBuffer,
        running: Callable[[], object],
        learn: Callable[[Lease, Renewal], None],
        in_order: bool = True,
    ) -> None:
        self._learn = learn
        self._in_order = in_order
        self._unanswered: deque[_Parcel] = deque()
        self._going = asyncio.Lock()
        self._store = store
        self._output = output
        self._running = running
        self._woken = asyncio.Event()
        self.awake = False

    def wake(self) -> None:
        """Ship, because a job has begun."""
        self.awake = True
        self._woken.set()

    async def run(self) -> None:
        """Ship until cancelled."""
        while True:
            await self._woken.wait()
            while self._running():
                await asyncio.sleep(FLUSH)
                await self.flush()
            self._woken.clear()
            self.awake = False

    async def flush(self) -> None:
        """Ship what is there now."""
        try:
            await self.settle(await self.first())
        except UnavailableError as error:
            log.warning("output.waits error=%s", error)

    async def first(self) -> Shipment:
        """Ship what has to be in the store before the calls that follow; returns what to `settle`.

        UnavailableError: no answer came to it, and it goes first the next time.
        """
        if self._in_order:
            return [(parcel, parcel.send()) for parcel in self._pack(None)]
        async with self._going:
            await self._deliver()
            # What comes meanwhile is not waited for: there might be no end of it.
            left = self._output.pending_bytes
            while True:
                before = self._output.pending_bytes
                self._unanswered.extend(self._pack(LOAD))
                left -= max(0, before - self._output.pending_bytes)
                await self._deliver()
                if left <= 0:
                    return []

    async def settle(self, shipment: Shipment) -> None:
        """Wait for the store's answers. A job does not end because its output was lost."""
        for parcel, pending in shipment:
            try:
                self._hear(parcel, await pending)
            except ConveyorError as error:
                log.error("%s error=%s", parcel.event, error)  # noqa: TRY400 - it says all there is

    def _hear(self, parcel: _Parcel, renewals: Sequence[Renewal]) -> None:
        for lease, renewal in zip(parcel.leases, renewals, strict=True):
            if renewal.verdict != "continue":
                self._learn(lease, renewal)

    async def _deliver(self) -> None:
        while self._unanswered:
            parcel = self._unanswered[0]
            try:
                self._hear(parcel, await parcel.send())
            except UnavailableError as error:
                if time.monotonic() < parcel.until:
                    raise
                log.error("%s error=%s", parcel.event, error)  # noqa: TRY400 - as above
            except ConveyorError as error:
                log.error("%s error=%s", parcel.event, error)  # noqa: TRY400 - as above
            self._unanswered.popleft()

    def _pack(self, limit: int | None) -> Iterator[_Parcel]:
        until = time.monotonic() + KEEP
        store = self._store
        chunks = self._output.take_output(limit)
        if chunks:
            leases = dict.fromkeys(Lease(chunk.job_id, chunk.lease) for chunk in chunks)
            yield _Parcel("output.lost", partial(store.write_output, chunks), leases, until)
        progress = [(Lease(job.id, job.lease), said) for job, said in self._output.take_progress()]
        if progress:
            leases = dict.fromkeys(lease for lease, _ in progress)
            yield _Parcel("progress.lost", partial(store.set_progress, progress), leases, until)
        notes = [(Lease(job.id, job.lease), notes) for job, notes in self._output.take_stop_notes()]
        if notes:
            leases = dict.fromkeys(lease for lease, _ in notes)
            yield _Parcel("notes.lost", partial(store.set_stopping, notes), leases, until)


class _Parcel(NamedTuple):
    """Something for the store, about some jobs; until when it is sent again without an answer."""

    event: str
    send: Send
    leases: Collection[Lease]
    until: float


async def tell(store: WorkerStore, reports: Sequence[Report]) -> bool:
    """Report what a worker leaves, and say whether the store has heard it.

    It has little time; what it cannot tell is handed back when it is found gone.
    """
    for _ in range(TRIES):
        try:
            await store.settle(reports)
        except UnavailableError as error:
            log.error("store.unavailable reports=%d error=%s", len(reports), error)  # noqa: TRY400 - it says all there is
            await asyncio.sleep(PAUSE)
        else:
            return True
    return False
