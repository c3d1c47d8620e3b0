"""Handlers for autoscalers: the waiting and running jobs, as far as the token may see them."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response

from ..core.labels import serves
from ..store.http import payloads
from ..store.messages import Load
from ..store.protocol import Store
from .auth import Principal
from .http_io import json_response
from .request import ApiRequest
from .visibility import loads_of


class ScaleApi:
    """Answers the calls `load` and `scale`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self, request: ApiRequest) -> Response:
        """Return the load by queue and required labels."""
        body: payloads.LoadQuery = request.body
        return json_response(await self._loads(request.principal, body.queue, body.limit))

    async def scale(self, request: ApiRequest) -> Response:
        """Return the load for one kind of agent."""
        query: payloads.ScaleQuery = request.body
        labels = frozenset(each.strip() for each in query.requires.split(",")) - {""}
        loads = [
            each
            for each in await self._loads(request.principal, query.queue, payloads.MAX_ROWS)
            if serves(labels, frozenset(each.requires))
        ]
        return json_response(_scale(loads, slots=query.slots, now=self._store.now()))

    async def _loads(self, principal: Principal, queue: str | None, limit: int) -> list[Load]:
        """Return the loads of a queue; without one, of those that the token may see."""
        names = principal.queues if queue is None else [queue]
        return await loads_of(self._store, names, limit=limit)


def _scale(loads: Sequence[Load], *, slots: int, now: float) -> payloads.ScaleAnswer:
    waiting = sum(each.waiting for each in loads)
    running = sum(each.running for each in loads)
    oldest_at = min((each.oldest_at for each in loads if each.oldest_at is not None), default=now)
    return payloads.ScaleAnswer(
        waiting=waiting,
        running=running,
        total=waiting + running,
        oldest_age=max(0.0, now - oldest_at),
        wanted_agents=-(-(waiting + running) // slots),  # rounded up
    )
