"""Remembers to which queues jobs and offers belong, so that limited tokens get hints of theirs."""

from __future__ import annotations

MAX_KNOWN = 100_000


class KnownQueues:
    """The queues of jobs, or of offers, by id. The oldest entries are forgotten.

    A forgotten one costs a hint, which its client makes up for by polling.
    """

    def __init__(self, limit: int = MAX_KNOWN) -> None:
        self._limit = limit
        self._queues: dict[str, str] = {}

    def remember(self, subject: str, queue: str) -> None:
        """Note the queue of a job or an offer."""
        if subject not in self._queues and len(self._queues) >= self._limit:
            del self._queues[next(iter(self._queues))]
        self._queues[subject] = queue

    def queue_of(self, subject: str) -> str | None:
        """Return the queue of a job or an offer; None if it is not known."""
        return self._queues.get(subject)
