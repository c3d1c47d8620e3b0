"""Callers that wait for a hint about one subject, such as the end of one job."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING

from .call_style import WakeEvent
from .messages import Hint, HintKind
from .protocol import Store

if TYPE_CHECKING:
    from collections.abc import Generator


class HintWaiters:
    """Wakes those callers that wait for the subject of a hint."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        # Held while the store begins to listen, which waits for a thread that may be in `_wake`.
        self._listening = threading.Lock()
        self._events: dict[HintKind, dict[str, list[WakeEvent]]] = {}
        self._stops: list[Callable[[], None]] = []

    def wake_on(
        self, kind: HintKind, subject: str, event: WakeEvent
    ) -> AbstractContextManager[None]:
        """Set `event` at every hint of `kind` about `subject` within the context."""
        return self._wake_on(kind, subject, event)

    def close(self) -> None:
        """Stop listening."""
        with self._lock:
            stops, self._stops = self._stops, []
            self._events.clear()
        for stop in stops:
            stop()

    @contextmanager
    def _wake_on(self, kind: HintKind, subject: str, event: WakeEvent) -> Generator[None]:
        with self._listening:
            if kind not in self._events:
                stop = self._store.listen([kind], self._wake)
                with self._lock:
                    self._stops.append(stop)
                    self._events[kind] = {}
        with self._lock:
            self._events.setdefault(kind, {}).setdefault(subject, []).append(event)
        try:
            yield
        finally:
            with self._lock, suppress(KeyError):
                events = self._events[kind][subject]
                events.remove(event)
                if not events:
                    del self._events[kind][subject]

    def _wake(self, hint: Hint) -> None:
        with self._lock:
            waiting = self._events.get(hint.kind, {})
            subjects = hint.subjects or tuple(waiting)
            events = [event for subject in subjects for event in waiting.get(subject, ())]
        for event in events:
            event.set()
