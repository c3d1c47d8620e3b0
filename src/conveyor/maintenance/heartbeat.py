"""Sends a worker's heartbeat to the store, and receives its orders: to work, be quiet or drain."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ..core.job import WorkerInfo
from ..core.pending import Pending, ready
from ..errors import AccessError, ConveyorError, InvalidTransitionError
from ..store.messages import Order
from ..store.protocol import MaintenanceStore


class WorkerHeartbeat:
    """The heartbeat of one worker. `describe` returns its state; `on_order` gets each answer.

    `on_refused` gets the error if the store does not take beats of this worker.
    """

    def __init__(self, store: MaintenanceStore, describe: Callable[[], WorkerInfo]) -> None:
        self._store = store
        self.describe = describe
        self.on_order: Callable[[Order], object] = str
        self.on_refused: Callable[[AccessError], object] = str
        self._requested: Order | None = None
        self._sent: Pending[Order] = ready("work")

    @property
    def has_request(self) -> bool:
        """Whether the store does not know yet what was requested here."""
        return self._requested is not None

    def request(self, order: Order) -> None:
        """Report with the next beat that this worker is quiet, or claims jobs again."""
        self._requested = order

    async def beat(self) -> None:
        """Send a beat and pass on the order."""
        self._sent = self._store.beat(self.describe())
        try:
            order = await self._sent
        except AccessError as error:
            self.on_refused(error)
            raise
        # A request that the store does not know yet is newer than its answer.
        while self._requested is not None:
            order = self._requested
            try:
                await self._store.order(self.describe().id, order)
            except InvalidTransitionError:  # it was ordered to drain, and that is final
                order, self._requested = "drain", None
            if self._requested == order:
                self._requested = None
        self.on_order(order)

    async def leave(self) -> None:
        """Remove the worker from the store. No beat may follow: it would add the worker again."""
        with suppress(ConveyorError):
            await self._sent  # over a network, a beat on its way may be overtaken
        await self._store.leave(self.describe().id)
