"""Answers those who scale: what waits and runs, as far as they may see it."""

from __future__ import annotations

from starlette.responses import Response

from ..store.http import bodies
from ..store.messages import Load
from ..store.protocol import Store
from .asked import Asked
from .gate import Caller
from .reading import answer


class Loads:
    """What waits and runs in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self, asked: Asked) -> Response:
        """Say what waits and runs, by queue and required labels."""
        body: bodies.LoadQuery = asked.body
        return answer((await self._seen_by(asked.caller))[: body.limit])

    async def _seen_by(self, caller: Caller) -> list[Load]:
        loads = await self._store.load(limit=bodies.MOST)
        return [each for each in loads if not caller.queues or each.queue in caller.queues]
