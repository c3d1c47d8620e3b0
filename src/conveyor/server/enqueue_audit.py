"""The audit log entries of enqueues that change what others rely on: capacities and waiting jobs.

A producer can do so with each job, so each is recorded once an hour for a caller and a queue.
"""

from __future__ import annotations

from collections.abc import Callable

from ..core.access import Action
from ..errors import NotFoundError
from ..store.messages import Accepted, Offered
from ..store.protocol import Store
from .audit import action_of
from .request import ApiRequest

# How long the same action of a caller on a queue is not recorded again, in seconds.
EVERY = 3600.0
# How many queues and actions are remembered.
MOST = 10_000


class EnqueueAudit:
    """Records that an enqueue changed the capacity of its queue, or dropped or replaced jobs."""

    def __init__(self, store: Store, elapsed: Callable[[], float]) -> None:
        self._store = store
        self._elapsed = elapsed
        self._capacities: dict[str, int | None] = {}
        self._recorded: dict[tuple[str, str, str], float] = {}

    async def capacity_before(self, queue: str, capacity: int | None) -> int | None:
        """Return the capacity of a queue before an enqueue that sets it to `capacity`.

        A queue that is new has that already, so that nothing changes.
        """
        if self._capacities.get(queue, -1) == capacity:  # as the last enqueue has left it
            return capacity
        try:
            return (await self._store.queue_info(queue)).capacity
        except NotFoundError:
            return capacity

    async def record(
        self,
        request: ApiRequest,
        answer: Accepted | Offered | None,
        before: int | None,
        now: int | None,
    ) -> None:
        """Record what an enqueue did, after it was answered."""
        queue = request.path["queue"]
        if len(self._capacities) >= MOST:
            self._capacities.clear()
        self._capacities[queue] = now
        lines: list[Action] = []
        if before != now and self._is_due(request, "set capacity"):
            lines.append(action_of(request, "set capacity", f"{_shown(before)} -> {_shown(now)}"))
        if isinstance(answer, Accepted) and answer.dropped and self._is_due(request, "drop jobs"):
            detail = f"{answer.dropped} jobs, to make room; more within the hour are not recorded"
            lines.append(action_of(request, "drop jobs", detail))
        if (
            isinstance(answer, Accepted)
            and answer.replaced
            and self._is_due(request, "replace jobs")
        ):
            detail = (
                f"{', '.join(answer.replaced[:3])}, by their unique keys; more within the hour "
            )
            lines.append(action_of(request, "replace jobs", f"{detail}are not recorded"))
        if lines:
            await self._store.note_action(lines)

    def _is_due(self, request: ApiRequest, action: str) -> bool:
        key = request.principal.name, action, request.path["queue"]
        at = self._elapsed()
        if at - self._recorded.get(key, float("-inf")) < EVERY:
            return False
        if len(self._recorded) >= MOST:
            self._recorded.clear()
        self._recorded[key] = at
        return True


def _shown(capacity: int | None) -> str:
    return "unbounded" if capacity is None else str(capacity)
