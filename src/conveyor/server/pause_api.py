"""The handlers that pause queues and schedules: they know by whom."""

from __future__ import annotations

from starlette.responses import Response

from ..store.http import payloads
from ..store.protocol import Store
from .request import ApiRequest


class PauseApi:
    """Answers the calls `set_paused` and `pause_schedule`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def set_paused(self, request: ApiRequest) -> Response:
        """Pause or resume a queue."""
        body: payloads.PauseBody = request.body
        await self._store.set_paused(
            request.path["queue"],
            paused=body.paused,
            reason=body.reason,
            by=request.principal.name,
        )
        return Response(status_code=204)

    async def pause_schedule(self, request: ApiRequest) -> Response:
        """Pause or resume a schedule."""
        body: payloads.PauseBody = request.body
        await self._store.pause_schedule(
            request.path["name"],
            paused=body.paused,
            reason=body.reason,
            by=request.principal.name,
        )
        return Response(status_code=204)
