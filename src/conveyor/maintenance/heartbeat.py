"""Sends a worker's heartbeat to the store, and receives its orders: to work, be quiet or drain."""

from __future__ import annotations

from collections.abc import Callable

from ..core.job import WorkerInfo
from ..errors import InvalidTransitionError
from ..store.messages import Order
from ..store.protocol import UpkeepStore


class WorkerHeartbeat:
    """The heartbeat of one worker. `describe` returns its state; `on_order` gets each answer."""

    def __init__(self, store: UpkeepStore, describe: Callable[[], WorkerInfo]) -> None:
        self._store = store
        self.describe = describe
        self.on_order: Callable[[Order], object] = str
        self._requested: Order | None = None

    @property
    def has_request(self) -> bool:
        """Whether the store does not know yet what was requested here."""
        return self._requested is not None

    def request(self, order: Order) -> None:
        """Report with the next beat that this worker is quiet, or claims jobs again."""
        self._requested = order

    async def beat(self) -> None:
        """Send a beat and pass on the order."""
        order = await self._store.beat(self.describe())
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
