"""Answers those who scale: what waits and runs, as far as they may see it."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response

from ..core.labels import serves
from ..store.http import payloads
from ..store.messages import Load
from ..store.protocol import Store
from .auth import Caller
from .io import answer
from .request import Asked


class Loads:
    """What waits and runs in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self, asked: Asked) -> Response:
        """Say what waits and runs, by queue and required labels."""
        body: payloads.LoadQuery = asked.body
        return answer((await self._seen_by(asked.caller))[: body.limit])

    async def scale(self, asked: Asked) -> Response:
        """Say how much there is to do for agents of one kind."""
        query: payloads.ScaleQuery = asked.body
        labels = frozenset(each.strip() for each in query.requires.split(",")) - {""}
        loads = [
            each
            for each in await self._seen_by(asked.caller)
            if query.queue in (None, each.queue) and serves(labels, frozenset(each.requires))
        ]
        return answer(_scale(loads, slots=query.slots, now=self._store.now()))

    async def _seen_by(self, caller: Caller) -> list[Load]:
        loads = await self._store.load(limit=payloads.MOST)
        return [each for each in loads if not caller.queues or each.queue in caller.queues]


def _scale(loads: Sequence[Load], *, slots: int, now: float) -> payloads.Scale:
    waiting = sum(each.waiting for each in loads)
    running = sum(each.running for each in loads)
    oldest_at = min((each.oldest_at for each in loads if each.oldest_at is not None), default=now)
    return payloads.Scale(
        waiting=waiting,
        running=running,
        total=waiting + running,
        oldest_age=max(0.0, now - oldest_at),
        wanted_agents=-(-(waiting + running) // slots),
    )
