"""Takes what running jobs write and say to the store: a few times a second, and before they end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from .errors import ConveyorError, UnavailableError
from .pending import Pending
from .runners.capture import OutputBuffer
from .store.messages import Lease, Report
from .store.protocol import WorkerStore

log = logging.getLogger("conveyor.shipping")

FLUSH = 0.2
# How often the last word is tried, and the pause in between.
TRIES, PAUSE = 4, 0.1

Shipment = list[tuple[str, Pending[list[str]]]]


class Shipping:
    """Empties an output buffer into the store, from `wake` on, as long as any job is `running`."""

    def __init__(
        self, *, store: WorkerStore, output: OutputBuffer, running: Callable[[], object]
    ) -> None:
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
        await self.settle(self.send())

    def send(self) -> Shipment:
        """Hand all over to the store, which keeps the order of the calls."""
        shipment: Shipment = []
        chunks = self._output.take()
        if chunks:
            shipment.append(("output.lost", self._store.write_output(chunks)))
        progress = [(Lease(job.id, job.lease), said) for job, said in self._output.take_progress()]
        if progress:
            shipment.append(("progress.lost", self._store.set_progress(progress)))
        notes = [(Lease(job.id, job.lease), notes) for job, notes in self._output.take_stopping()]
        if notes:
            shipment.append(("notes.lost", self._store.set_stopping(notes)))
        return shipment

    async def settle(self, shipment: Shipment) -> None:
        """Wait for the store's answers. A job does not end because its output was lost."""
        for event, pending in shipment:
            try:
                await pending
            except ConveyorError as error:
                log.error("%s error=%s", event, error)  # noqa: TRY400 - it says all there is


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
