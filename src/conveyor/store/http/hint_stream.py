"""Receives the server's hints: one stream for all listeners, reopened when it breaks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from ...core.event_log import open_event_log
from ...core.loop_backoff import DoublingBackoff
from ...core.unreadable import UNREADABLE
from ...errors import ConveyorError, UnavailableError
from ..listeners import Listeners
from ..messages import Hint, HintKind, Listener
from .api import HINTS
from .client import HttpClient
from .payloads import HintsQuery

log = open_event_log("hints")

MIN_PAUSE, MAX_PAUSE = 0.1, 2.0
# Waiting claims bring these hints. A stream of them would wake every worker for every job.
NOT_STREAMED: frozenset[HintKind] = frozenset({"work"})

_decode = msgspec.json.Decoder(Hint).decode


def decode_hint(line: bytes) -> Hint:
    """Return the hint in a line of the stream; UnavailableError if it is not one."""
    try:
        return _decode(line)
    except UNREADABLE as error:
        raise UnavailableError(f"the server sent a line that is not a hint: {error}") from error


class HintStream:
    """Passes the server's hints to listeners. Thread-safe."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self._listeners = Listeners()
        # The rest is used in the client's thread only.
        self._kinds: frozenset[HintKind] = frozenset()
        self._kinds_changed: asyncio.Event | None = None
        self._backoff = DoublingBackoff(MIN_PAUSE, MAX_PAUSE, jitter=0.5)
        self._warned = False

    def listen(self, kinds: Sequence[HintKind], listener: Listener) -> Callable[[], None]:
        """Call `listener` for hints of these kinds; returns a function that ends this."""
        forget = self._listeners.add(kinds, listener)
        self._client.submit(self._update_kinds())

        def stop() -> None:
            forget()
            self._client.submit(self._update_kinds())

        return stop

    def publish(self, hint: Hint) -> None:
        """Pass one hint to its listeners."""
        self._listeners.tell(hint)

    async def _update_kinds(self) -> None:
        """Request the kinds that have listeners; the first listener opens the stream."""
        self._kinds = self._listeners.kinds - NOT_STREAMED
        if self._kinds_changed is not None:
            self._kinds_changed.set()
        elif self._kinds:
            self._kinds_changed = asyncio.Event()
            await self._run(self._kinds_changed)

    async def _run(self, kinds_changed: asyncio.Event) -> None:
        while True:
            kinds_changed.clear()
            kinds = self._kinds
            if not kinds:
                await kinds_changed.wait()
                continue
            stream = asyncio.create_task(self._stream(kinds))
            changed = asyncio.create_task(kinds_changed.wait())
            await asyncio.wait([stream, changed], return_when=asyncio.FIRST_COMPLETED)
            for task in (stream, changed):
                task.cancel()
            [error, _] = await asyncio.gather(stream, changed, return_exceptions=True)
            if isinstance(error, ConveyorError):
                # Warn once each time the stream breaks, not at each attempt to reopen it.
                level = logging.DEBUG if self._warned else logging.WARNING
                log.log(level, "hints.broken retry_in=%.1f error=%s", self._backoff.pause, error)
                self._warned = True
            if not kinds_changed.is_set():
                await asyncio.sleep(self._backoff.next_pause())

    async def _stream(self, kinds: frozenset[HintKind]) -> None:
        is_open = False

        def receive(line: bytes) -> None:
            nonlocal is_open
            if line:
                self.publish(decode_hint(line))
            elif not is_open:
                # The first, empty line: hints arrive from now on. Any before it were missed.
                is_open = True
                self._backoff.reset()
                self._warned = False
                for kind in kinds:
                    self.publish(Hint(kind))

        await self._client.stream(HINTS, HintsQuery(kinds=",".join(sorted(kinds))), receive)
