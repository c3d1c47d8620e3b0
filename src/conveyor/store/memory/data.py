"""The data of the memory store, and the hints of one operation: the counterpart of `Tx`."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence

import msgspec

from ...core.access import Action, Token
from ...core.history import Counts, minute_of
from ...core.job import NewJob, ScheduleInfo, TaskDefaults, WorkerInfo
from ...core.marks import Mark
from ...core.pause import NOT_PAUSED, Pause
from ...core.retry import Draw
from ..messages import Accepted, HintKind, Leader, Order, new_discards
from .indexes import JobIndex


class WaitingOffer(msgspec.Struct):
    """A request that waits for room, with its answer once it has been accepted."""

    jobs: Sequence[NewJob]
    until: float
    answer: Accepted | None = None

    def is_waiting(self, now: float) -> bool:
        """Whether its producer still waits for room."""
        return self.answer is None and self.until >= now


class QueueData(msgspec.Struct):
    """A queue's capacity, pause and offers. Its jobs are in the index."""

    capacity: int | None = None
    paused: bool = False
    pause: Pause = NOT_PAUSED
    offers: deque[str] = msgspec.field(default_factory=deque)


class MemoryData:
    """All data. `now` is the time of the running operation and does not change during it."""

    def __init__(self, draw: Draw = random.random) -> None:
        self.now = 0.0
        self.draw = draw
        self.index = JobIndex()
        self.queues: dict[str, QueueData] = {}
        self.offers: dict[str, WaitingOffer] = {}
        # The offers of each offered job, by its id: one that ended may still be kept.
        self.offers_of_job: dict[str, dict[str, None]] = {}
        self.offer_numbers = 0
        self.chunks = 0
        # What happened, by queue and minute.
        self.minutes: dict[str, dict[int, Counts]] = {}
        self.marks: deque[Mark] = deque()
        self.mark_numbers = 0
        self.tasks: dict[str, TaskDefaults] = {}
        self.schedules: dict[str, ScheduleInfo] = {}
        # The ids of the jobs of the last ticks, by schedule.
        self.recent: dict[str, list[str]] = {}
        self.workers: dict[str, WorkerInfo] = {}
        # A worker without an entry has the order "work".
        self.orders: dict[str, Order] = {}
        self.reasons: dict[str, str] = {}
        self.tokens: dict[str, Token] = {}
        self.leaders: dict[str, Leader] = {}
        self.actions: deque[Action] = deque()
        self.action_numbers = 0
        self.discards = new_discards()
        self.hints: dict[HintKind, dict[str, None]] = {}

    def queue(self, name: str) -> QueueData:
        """Return a queue; create it if it does not exist."""
        queue = self.queues.get(name)
        if queue is None:
            queue = self.queues[name] = QueueData()
        return queue

    def happened(self, queue: str) -> Counts:
        """Return what happened in a queue in the present minute, to be added to."""
        return self.minutes.setdefault(queue, {}).setdefault(minute_of(self.now), {})

    def add_offer(self, waiting: WaitingOffer) -> str:
        """Store an offer; return its number."""
        self.offer_numbers += 1
        offer = str(self.offer_numbers)
        self.offers[offer] = waiting
        for new in waiting.jobs:
            self.offers_of_job.setdefault(new.id, {})[offer] = None
        return offer

    def delete_offer(self, offer: str) -> None:
        """Delete an offer, which its queue no longer lists."""
        for new in self.offers.pop(offer).jobs:
            offers = self.offers_of_job.get(new.id, {})
            offers.pop(offer, None)
            if not offers:
                self.offers_of_job.pop(new.id, None)

    def waiting_offer(self, job_id: str) -> WaitingOffer | None:
        """Return the offer in which a job waits for room, if there is one."""
        offers = (self.offers[each] for each in self.offers_of_job.get(job_id, ()))
        return next((each for each in offers if each.is_waiting(self.now)), None)

    def hint(self, kind: HintKind, subject: str) -> None:
        """Add a hint, which is sent when the operation has finished."""
        self.hints.setdefault(kind, {})[subject] = None
