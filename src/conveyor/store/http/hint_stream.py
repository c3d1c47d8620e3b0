"""Hears the server's hints: one stream for all who listen, opened anew when it breaks."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence

import msgspec

from ...core.backoff import DoublingBackoff
from ...errors import ConveyorError
from ..messages import Hint, HintKind, Listener
from .api import HINTS
from .client import Line
from .payloads import HintsQuery

log = logging.getLogger("conveyor.hearing")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
# These come with the claims that wait; a stream of them would wake every worker for every job.
BROUGHT: frozenset[HintKind] = frozenset({"work"})

_decode = msgspec.json.Decoder(Hint).decode


class Ear:
    """Passes hints on to whoever listens. Any thread may call."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._lock = threading.Lock()
        self._listeners: dict[int, tuple[frozenset[HintKind], Listener]] = {}
        self._number = 0
        self._kinds: frozenset[HintKind] = frozenset()
        self._changed: asyncio.Event | None = None
        self._backoff = DoublingBackoff(FIRST_PAUSE, LONGEST_PAUSE, jitter=0.5)
        self._told = False

    def listen(self, kinds: Sequence[HintKind], listener: Listener) -> Callable[[], None]:
        """Call `listener` for hints of these kinds; returns how to stop that."""
        with self._lock:
            self._number += 1
            number = self._number
            self._listeners[number] = frozenset(kinds), listener
        self._line.start(self._look())

        def stop() -> None:
            with self._lock:
                self._listeners.pop(number, None)
            self._line.start(self._look())

        return stop

    def tell(self, hint: Hint) -> None:
        """Pass one hint on."""
        with self._lock:
            listeners = [each for kinds, each in self._listeners.values() if hint.kind in kinds]
        for listener in listeners:
            listener(hint)

    async def _look(self) -> None:
        """See to it that what is listened for is what is asked for."""
        with self._lock:
            wanted = frozenset[HintKind]().union(*(k for k, _ in self._listeners.values()))
        self._kinds = wanted - BROUGHT
        if self._changed is not None:
            self._changed.set()
        elif self._kinds:
            self._changed = asyncio.Event()
            await self._hear()

    async def _hear(self) -> None:
        assert self._changed is not None, "set where this is called"
        while True:
            self._changed.clear()
            kinds = self._kinds
            if not kinds:
                await self._changed.wait()
                continue
            stream = asyncio.create_task(self._stream(kinds))
            changed = asyncio.create_task(self._changed.wait())
            await asyncio.wait([stream, changed], return_when=asyncio.FIRST_COMPLETED)
            for task in (stream, changed):
                task.cancel()
            [error, _] = await asyncio.gather(stream, changed, return_exceptions=True)
            if isinstance(error, ConveyorError):
                # Once for each time that it breaks, and not for every try while it is so.
                level = logging.DEBUG if self._told else logging.WARNING
                log.log(level, "hints.broken retry_in=%.1f error=%s", self._backoff.pause, error)
                self._told = True
            if not self._changed.is_set():
                await asyncio.sleep(self._backoff.next_pause())

    async def _stream(self, kinds: frozenset[HintKind]) -> None:
        begun: list[bool] = []

        def hear(line: bytes) -> None:
            if line:
                self.tell(_decode(line))
            elif not begun:  # it is heard from now on; nobody knows what was missed before
                begun.append(True)
                self._backoff.reset()
                self._told = False
                for kind in kinds:
                    self.tell(Hint(kind))

        await self._line.stream(HINTS, HintsQuery(kinds=",".join(sorted(kinds))), hear)
