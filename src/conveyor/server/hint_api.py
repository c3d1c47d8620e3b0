"""The handler that streams hints: one JSON object per line until the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import msgspec
from starlette.responses import Response, StreamingResponse

from ..errors import UsageError
from ..store.messages import Hint, HintKind
from .auth import Authenticator, Principal
from .authorization import Authorizer
from .hub import KINDS, Hub
from .request import ApiRequest

# Seconds after which an empty line is sent, so that the client notices a dead connection.
KEEPALIVE = 10.0
# Seconds for which hints are merged, so that a busy store does not flood the connection.
MERGE_FOR = 0.01

_encode = msgspec.json.Encoder().encode


class HintApi:
    """Answers the call `hints`."""

    def __init__(self, authenticator: Authenticator, authorizer: Authorizer, hub: Hub) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._hub = hub

    async def hints(self, request: ApiRequest) -> Response:
        """Stream hints of the requested kinds."""
        named = [each for each in request.body.kinds.split(",") if each]
        unknown = sorted(set(named) - set(KINDS))
        if unknown:
            raise UsageError(
                f"unknown kind of hint {unknown[0]!r}; the kinds are {', '.join(KINDS)}"
            )
        kinds: frozenset[HintKind] = frozenset({kind for kind in KINDS if kind in named})
        lines = self._lines(kinds, request.principal)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def _lines(
        self, kinds: frozenset[HintKind], principal: Principal
    ) -> AsyncIterator[bytes]:
        visible = partial(self._authorizer.visible_hint, principal)
        with self._hub.stream(kinds, visible) as stream:
            access_lost = asyncio.create_task(self._authenticator.watch_access(principal))
            access_lost.add_done_callback(lambda _: stream.wake())
            try:
                yield b"\n"  # from here on, the client misses no hint
                while not self._hub.closing:
                    hints: list[Hint] = await stream.take_all(KEEPALIVE)
                    if access_lost.done():
                        break
                    yield b"".join(_encode(hint) + b"\n" for hint in hints) or b"\n"
                    await asyncio.sleep(MERGE_FOR)
            finally:
                access_lost.cancel()
                await asyncio.wait([access_lost])
                # asyncio warns about an exception that is never retrieved.
                _ = access_lost.cancelled() or access_lost.exception()
