"""Errands: work on files, done by a few threads where an event loop must not wait for it."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from ..core.pending import Pending, in_event_loop, wake

T = TypeVar("T")

MOST = 4


class Errands:
    """Runs errands in at most `most` daemon threads, which end when there is nothing to do.

    A blocking caller runs its errand itself. May be used by any thread, and after a fork.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._begin()

    def run(self, work: Callable[[], T]) -> Pending[T]:
        """Have some work done; what it returns or raises is the answer."""
        pending: Pending[T] = Pending()
        if not in_event_loop():
            _carry_out(work, pending)
            return pending
        if self._pid != os.getpid():  # we are a forked child: the threads are the parent's
            self._begin()
        with self._lock:
            self._waiting.append((work, pending))
            if self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._serve, name="conveyor-files", daemon=True).start()
        return pending

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Callable[[], Any], Pending[Any]]] = deque()
        self._threads = 0

    def _serve(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                work, pending = self._waiting.popleft()
            _carry_out(work, pending)


def _carry_out(work: Callable[[], T], pending: Pending[T]) -> None:
    try:
        pending.resolve(work())
    except Exception as error:  # noqa: BLE001 - errors are answers too
        pending.fail(error)
    wake([pending])
