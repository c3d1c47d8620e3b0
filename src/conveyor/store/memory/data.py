"""What the memory store knows, and who wants to hear of it: the counterpart of a transaction."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence

import msgspec

from ...core.access import Action, Token
from ...core.job import NewJob, ScheduleInfo, WorkerInfo
from ...core.retry import Draw
from ..messages import Accepted, HintKind, Leader, Order
from .indexes import JobIndex


class WaitingOffer(msgspec.Struct):
    """A request that waits for room, and the answer once there was some."""

    jobs: Sequence[NewJob]
    until: float
    answer: Accepted | None = None


class QueueData(msgspec.Struct):
    """What is known of a queue beside its jobs."""

    capacity: int | None = None
    paused: bool = False
    offers: deque[str] = msgspec.field(default_factory=deque)


class MemoryData:
    """Everything there is. `now` is the one time of the operation that is being carried out."""

    def __init__(self, draw: Draw = random.random) -> None:
        self.now = 0.0
        self.draw = draw
        self.index = JobIndex()
        self.queues: dict[str, QueueData] = {}
        self.offers: dict[str, WaitingOffer] = {}
        self.offer_numbers = 0
        self.chunks = 0
        self.schedules: dict[str, ScheduleInfo] = {}
        self.workers: dict[str, WorkerInfo] = {}
        # Those that are to work are not in it.
        self.orders: dict[str, Order] = {}
        self.reasons: dict[str, str] = {}
        self.tokens: dict[str, Token] = {}
        self.leaders: dict[str, Leader] = {}
        self.actions: deque[Action] = deque()
        self.action_numbers = 0
        self.hints: dict[HintKind, dict[str, None]] = {}

    def queue(self, name: str) -> QueueData:
        """Return a queue, making it if it was never used."""
        queue = self.queues.get(name)
        if queue is None:
            queue = self.queues[name] = QueueData()
        return queue

    def hint(self, kind: HintKind, subject: str) -> None:
        """Note what to tell listeners once the operation is done."""
        self.hints.setdefault(kind, {})[subject] = None
