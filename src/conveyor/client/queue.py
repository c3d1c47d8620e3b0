"""`Queue`: a declared queue, its depth, and pausing it."""

from __future__ import annotations

from ..errors import NotFoundError, UsageError
from .producer import Producer, QueueRule
from .task_function import TaskDecorator, Tasks


class Queue:
    """A named queue, bounded if it has a capacity. `@queue.task` makes a function its task."""

    def __init__(self, rule: QueueRule, producer: Producer, tasks: Tasks) -> None:
        self.rule = rule
        self.task: TaskDecorator = tasks.bind(rule.name)
        self._producer = producer

    def __repr__(self) -> str:
        return f"<Queue {self.name} capacity={self.capacity}>"

    @property
    def name(self) -> str:
        """The queue's name."""
        return self.rule.name

    @property
    def capacity(self) -> int | None:
        """How many jobs may wait; None for no limit; 0 for a rendezvous with a worker."""
        return self.rule.capacity

    @property
    def depth(self) -> int:
        """How many jobs wait now: scheduled, available and retryable ones."""
        try:
            return self._producer.store.queue_info(self.name).result().depth
        except NotFoundError:
            return 0

    def pause(self) -> None:
        """Stop all workers from claiming jobs of this queue. Enqueueing goes on."""
        self._producer.store.set_paused(self.name, paused=True).result()

    def resume(self) -> None:
        """Let workers claim jobs of this queue again."""
        self._producer.store.set_paused(self.name, paused=False).result()


def check_rule(rule: QueueRule) -> None:
    """Raise UsageError for a bound that makes no sense."""
    capacity, when_full = rule.capacity, rule.when_full
    # Not every caller has a type checker.
    whole = isinstance(capacity, int) and not isinstance(capacity, bool)  # pyright: ignore[reportUnnecessaryIsInstance]
    if capacity is not None and (not whole or capacity < 0):
        raise UsageError(f"capacity must be a whole number of 0 or more, or None, got {capacity!r}")
    if when_full not in ("wait", "refuse", "drop_oldest"):
        raise UsageError(f"when_full must be 'wait', 'refuse' or 'drop_oldest', got {when_full!r}")
    if when_full == "drop_oldest" and not capacity:
        raise UsageError(f"when_full='drop_oldest' needs a capacity of 1 or more, got {capacity}")
