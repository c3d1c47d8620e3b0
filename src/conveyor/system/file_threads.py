"""Threads for file operations, which must not block an event loop."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from ..core.pending import Pending, failed, in_event_loop, wake

T = TypeVar("T")

MAX_THREADS = 4


class FileThreads:
    """Runs file operations in at most `max_threads` daemon threads.

    They exit once they have been idle for `linger` seconds: starting a thread takes as long as a
    short operation. A blocking caller runs its operation itself. Safe in any thread, and after a
    fork.
    """

    def __init__(self, max_threads: int = MAX_THREADS, *, linger: float = 0.0) -> None:
        self._max_threads = max_threads
        self._linger = linger
        self._reset()

    def run(self, operation: Callable[[], T]) -> Pending[T]:
        """Run an operation; its return value or exception is the answer."""
        pending: Pending[T] = Pending()
        if not in_event_loop():
            _resolve(operation, pending)
            return pending
        if self._pid != os.getpid():  # a forked child: the threads are the parent's
            self._reset()
        with self._lock:
            self._waiting.append((operation, pending))
            if self._idle >= len(self._waiting):
                self._added.notify()
            elif self._threads < self._max_threads:
                try:
                    threading.Thread(target=self._serve, name="conveyor-files", daemon=True).start()
                    self._threads += 1
                except RuntimeError as error:  # the system has no room for another thread
                    if not self._threads:
                        self._waiting.pop()
                        return failed(error)
        return pending

    def resume(self, operation: Callable[[], None]) -> None:
        """Run another part of the operation that calls this, after the operations that wait."""
        with self._lock:
            self._waiting.append((operation, Pending()))

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._added = threading.Condition(self._lock)
        self._idle = 0
        self._waiting: deque[tuple[Callable[[], Any], Pending[Any]]] = deque()
        self._threads = 0

    def _serve(self) -> None:
        while True:
            with self._lock:
                if self._linger and not self._waiting:
                    self._idle += 1
                    while not self._waiting and self._added.wait(self._linger):
                        pass  # a thread that was busy has taken it
                    self._idle -= 1
                if not self._waiting:
                    self._threads -= 1
                    return
                operation, pending = self._waiting.popleft()
            _resolve(operation, pending)
            del operation, pending  # the next may come much later


def _resolve(operation: Callable[[], T], pending: Pending[T]) -> None:
    try:
        pending.resolve(operation())
    except Exception as error:  # noqa: BLE001 - errors are answers too
        pending.fail(error)
    wake([pending])
