"""Takes what running jobs write and say to the store: a few times a second, and before they end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from .errors import ConveyorError, UnavailableError
from .job import OutputChunk
from .pending import Pending
from .runners.capture import OutputBuffer
from .store.messages import Lease, Report
from .store.protocol import WorkerStore

log = logging.getLogger("conveyor.shipping")

FLUSH = 0.2
# At most so many bytes of output go over a network at once, and for so long, in seconds, what no
# answer came to is sent again. By then its lease is over.
LOAD = 512 << 10
KEEP = 120.0
# How often the last word is tried, and the pause in between.
TRIES, PAUSE = 4, 0.1

Send = Callable[[], Pending[list[str]]]
Shipment = list[tuple[str, Pending[list[str]]]]


class Shipping:
    """Empties an output buffer into the store, from `wake` on, as long as any job is `running`.

    `in_order` says that the store keeps the order of calls. Where it does not, over a network, one
    thing goes after the other, and again after a break: what came twice is kept once.
    """

    def __init__(
        self,
        *,
        store: WorkerStore,
        output: OutputBuffer,
        running: Callable[[], object],
        in_order: bool = True,
    ) -> None:
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
            return [(parcel.event, parcel.send()) for parcel in self._pack()]
        async with self._going:
            await self._deliver()
            self._unanswered.extend(self._pack())
            await self._deliver()
        return []

    async def settle(self, shipment: Shipment) -> None:
        """Wait for the store's answers. A job does not end because its output was lost."""
        for event, pending in shipment:
            try:
                await pending
            except ConveyorError as error:
                log.error("%s error=%s", event, error)  # noqa: TRY400 - it says all there is

    async def _deliver(self) -> None:
        while self._unanswered:
            parcel = self._unanswered[0]
            try:
                await parcel.send()
            except UnavailableError as error:
                if time.monotonic() < parcel.until:
                    raise
                log.error("%s error=%s", parcel.event, error)  # noqa: TRY400 - as above
            except ConveyorError as error:
                log.error("%s error=%s", parcel.event, error)  # noqa: TRY400 - as above
            self._unanswered.popleft()

    def _pack(self) -> Iterator[_Parcel]:
        until = time.monotonic() + KEEP
        store = self._store
        chunks = self._output.take()
        for load in [chunks] if self._in_order and chunks else _loads(chunks):
            yield _Parcel("output.lost", partial(store.write_output, load), until)
        progress = [(Lease(job.id, job.lease), said) for job, said in self._output.take_progress()]
        if progress:
            yield _Parcel("progress.lost", partial(store.set_progress, progress), until)
        notes = [(Lease(job.id, job.lease), notes) for job, notes in self._output.take_stopping()]
        if notes:
            yield _Parcel("notes.lost", partial(store.set_stopping, notes), until)


class _Parcel(NamedTuple):
    """Something for the store, and until when it is sent again if no answer comes."""

    event: str
    send: Send
    until: float


def _loads(chunks: Sequence[OutputChunk]) -> Iterator[list[OutputChunk]]:
    load: list[OutputChunk] = []
    size = 0
    for chunk in chunks:
        if load and size + len(chunk.data) > LOAD:
            yield load
            load, size = [], 0
        load.append(chunk)
        size += len(chunk.data)
    if load:
        yield load


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
