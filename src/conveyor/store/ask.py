"""Who waits: blocking code or a coroutine. One body of code serves both through this port.

Code that takes a `Caller` is written as `async def`; for blocking code `run_sync` drives it to its
end in one step, because nothing in it really suspends.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

from ..core.pending import Pending, in_event_loop
from ..core.timeout import wait_for_event
from ..errors import UsageError
from .messages import Hint, HintKind
from .protocol import Store

if TYPE_CHECKING:
    from asyncio import Event
    from collections.abc import Generator

T = TypeVar("T")


class Bell(Protocol):
    """Something one caller sleeps on and any thread may ring."""

    def ring(self) -> None:
        """Wake the sleeper, now or at its next wait."""
        ...

    async def wait(self, seconds: float) -> None:
        """Sleep until rung, at most `seconds`."""
        ...


class Caller(Protocol):
    """How to get an answer and how to sleep, for one kind of code."""

    async def answer(self, pending: Pending[T], within: float | None = None) -> T:
        """Return the answer when it is here; TimeoutError after `within` seconds."""
        ...

    def bell(self) -> Bell:
        """Return something to sleep on."""
        ...


class Blocking:
    """For code without an event loop: waiting blocks the thread."""

    async def answer(self, pending: Pending[T], within: float | None = None) -> T:
        """Block until the answer is here; TimeoutError after `within` seconds."""
        return pending.result(within)

    def bell(self) -> Bell:
        """Return a bell that blocks; UsageError where that would block an event loop."""
        if in_event_loop():
            raise UsageError(
                "this call would have to wait, and that would block the running event loop: "
                "use its twin with the prefix `a` (aenqueue, aresult, acancel) and await it"
            )
        return _ThreadBell()


class Awaiting:
    """For coroutines: waiting lets the event loop go on."""

    async def answer(self, pending: Pending[T], within: float | None = None) -> T:
        """Wait until the answer is here; TimeoutError after `within` seconds."""
        if within is None:
            return await pending
        async with sys.modules["asyncio"].timeout(within):
            return await pending

    def bell(self) -> Bell:
        """Return a bell of the running event loop."""
        return _LoopBell()


class Watch:
    """Passes a store's hints on to the callers that sleep on just that subject."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._bells: dict[HintKind, dict[str, list[Bell]]] = {}
        self._stops: list[Callable[[], None]] = []

    def on(self, kind: HintKind, subject: str, bell: Bell) -> AbstractContextManager[None]:
        """Ring `bell` for every hint of `kind` about `subject` within the context."""
        return self._on(kind, subject, bell)

    def close(self) -> None:
        """Stop listening."""
        with self._lock:
            stops, self._stops = self._stops, []
            self._bells.clear()
        for stop in stops:
            stop()

    @contextmanager
    def _on(self, kind: HintKind, subject: str, bell: Bell) -> Generator[None]:
        with self._lock:
            if kind not in self._bells:
                self._bells[kind] = {}
                self._stops.append(self._store.listen([kind], self._hear))
            self._bells[kind].setdefault(subject, []).append(bell)
        try:
            yield
        finally:
            with self._lock, suppress(KeyError):
                bells = self._bells[kind][subject]
                bells.remove(bell)
                if not bells:
                    del self._bells[kind][subject]

    def _hear(self, hint: Hint) -> None:
        with self._lock:
            waiting = self._bells.get(hint.kind, {})
            subjects = hint.subjects or tuple(waiting)
            bells = [bell for subject in subjects for bell in waiting.get(subject, ())]
        for bell in bells:
            bell.ring()


class _ThreadBell:
    def __init__(self) -> None:
        self._event = threading.Event()

    def ring(self) -> None:
        self._event.set()

    async def wait(self, seconds: float) -> None:
        self._event.wait(seconds)
        self._event.clear()


class _LoopBell:
    def __init__(self) -> None:
        asyncio = sys.modules["asyncio"]
        self._loop = asyncio.get_running_loop()
        self._event: Event = asyncio.Event()

    def ring(self) -> None:
        with suppress(RuntimeError):  # the loop was closed: its sleepers are gone
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, seconds: float) -> None:
        await wait_for_event(self._event, seconds)
        self._event.clear()
