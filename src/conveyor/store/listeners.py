"""Who hears the hints of a store in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import count

from .messages import Hint, HintKind, Listener


class Listeners:
    """Passes hints to those who want their kind. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = count()
        self._known: dict[int, tuple[frozenset[HintKind], Listener]] = {}

    def __bool__(self) -> bool:
        return bool(self._known)

    @property
    def kinds(self) -> frozenset[HintKind]:
        """The kinds that anybody wants."""
        with self._lock:
            return frozenset[HintKind]().union(*(kinds for kinds, _ in self._known.values()))

    def add(self, kinds: Sequence[HintKind], listener: Listener) -> Callable[[], None]:
        """Call `listener` for hints of these kinds from now on; returns how to stop."""
        number = next(self._numbers)
        with self._lock:
            self._known[number] = frozenset(kinds), listener

        def stop() -> None:
            with self._lock:
                self._known.pop(number, None)

        return stop

    def clear(self) -> None:
        """Call nobody any more."""
        with self._lock:
            self._known.clear()

    def tell(self, hint: Hint) -> None:
        """Call those who want hints of this kind; they may call the store."""
        if self._known:
            with self._lock:
                known = list(self._known.values())
            for kinds, listener in known:
                if hint.kind in kinds:
                    listener(hint)
