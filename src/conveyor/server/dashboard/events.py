"""Streams events to a page as server-sent events, at most four messages a second.

`snapshot`: once a second, what every page shows. `changed`: kinds of things that changed since the
last message. `job` and `output`: the job that the page shows changed, or wrote output. `bye`: the
server stops. Every event has an id. A page that connects again sends the last one as Last-Event-ID,
and `hello` says whether it has missed anything.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ...errors import UnavailableError
from ...store.messages import Hint, HintKind
from ..auth import Authenticator, Principal
from ..authorization import Authorizer
from ..hub import KINDS, Hub
from .snapshot import SnapshotFeed

# In seconds: between two messages, until an empty comment keeps the connection alive, and until a
# page tries to connect again.
PACE, PING, RETRY = 0.25, 15.0, 2.0
WATCHED: frozenset[HintKind] = frozenset(KINDS) - {"access"}
# What a hint is about, in the words of the pages.
TOPICS: dict[HintKind, tuple[str, ...]] = {
    "work": ("jobs", "queues"),
    "due": ("jobs", "queues"),
    "final": ("jobs", "queues"),
    "offer": ("jobs", "queues"),
    "cancel": ("jobs",),
    "quiet": ("workers",),
    "output": (),
    # A page asks for the dump itself, and then reads it.
    "stack": (),
    "access": (),
}

_encode = msgspec.json.Encoder().encode


class EventStreams:
    """Answers the requests for events."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        authorizer: Authorizer,
        hub: Hub,
        feed: SnapshotFeed,
        viewers: int,
    ) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._hub = hub
        self._feed = feed
        self._viewers = viewers
        self._boot = secrets.token_hex(4)

    def respond(self, http: Request, principal: Principal) -> Response:
        """Stream events until the client disconnects, loses access, or the server stops."""
        if self._feed.viewers >= self._viewers:
            raise UnavailableError(
                f"{self._viewers} pages are open, which is the most that this server keeps up to "
                "date; close some, or reload this one now and then"
            )
        job_id = http.query_params.get("job", "")
        last_id = http.headers.get("last-event-id", "")
        return StreamingResponse(
            self._events(principal, job_id, last_id),
            media_type="text/event-stream",
            # Proxies like nginx would collect the events.
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def _events(
        self, principal: Principal, job_id: str, last_id: str
    ) -> AsyncIterator[bytes]:
        visible = partial(self._authorizer.visible_hint, principal)
        with self._hub.stream(WATCHED, visible) as stream, self._feed.viewer(stream.wake):
            access_lost = asyncio.create_task(self._authenticator.watch_access(principal))
            access_lost.add_done_callback(lambda _: stream.wake())
            try:
                missed = last_id != self._id()
                yield self._event("hello", {"missed": missed, "retry": RETRY})
                seen = 0
                while not self._hub.closing:
                    hints = await stream.take_all(PING)
                    if access_lost.done():
                        break
                    parts = [self._event(kind, data) for kind, data in _news(hints, job_id)]
                    if self._feed.number != seen:
                        seen = self._feed.number
                        parts.append(self._snapshot(principal))
                    yield b"".join(parts) or b":\n\n"
                    await asyncio.sleep(PACE)
                yield self._event("bye", {"retry": RETRY})
            finally:
                access_lost.cancel()
                await asyncio.wait([access_lost])
                # asyncio warns about an exception that is never retrieved.
                _ = access_lost.cancelled() or access_lost.exception()

    def _snapshot(self, principal: Principal) -> bytes:
        # A token that is limited to queues may not see numbers of all of them.
        data = b"{}" if principal.queues else self._feed.latest
        return b"event: snapshot\nid: %b\ndata: %b\n\n" % (self._id().encode(), data)

    def _event(self, kind: str, data: Any) -> bytes:
        return b"event: %b\nid: %b\ndata: %b\n\n" % (
            kind.encode(),
            self._id().encode(),
            _encode(data),
        )

    def _id(self) -> str:
        return f"{self._boot}-{self._hub.distributed}"


def _news(hints: Iterable[Hint], job_id: str) -> list[tuple[str, Any]]:
    """Return the events that tell of some hints: their names and data."""
    topics: set[str] = set()
    news: dict[str, Any] = {}
    for hint in hints:
        topics.update(TOPICS.get(hint.kind, ()))
        if job_id and hint.kind in ("final", "cancel", "output"):
            kind = "output" if hint.kind == "output" else "job"
            if job_id in hint.subjects or not hint.subjects:
                news[kind] = {"job": job_id}
    if topics:
        news["changed"] = {"topics": sorted(topics)}
    return list(news.items())
