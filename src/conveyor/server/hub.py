"""Passes the store's hints on: to streams of them, and to claims that wait for a job.

A job wakes one claim and not all: of the claims that wait for its queue, the first of each set of
labels, and the next when that one has found something, because there may be more.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from typing import get_args

from ..core.timeout import wait_for_event
from ..store.messages import Hint, HintKind
from ..store.protocol import Store

KINDS: tuple[HintKind, ...] = get_args(HintKind)
# A stream that is read slowly keeps so many subjects; beyond them a hint is about "any".
SUBJECTS = 1000

Group = tuple[str, frozenset[str]]


class Stream:
    """The hints for one listener, put together while it is not looking."""

    def __init__(self, kinds: frozenset[HintKind], may_hear: Callable[[Hint], Hint | None]) -> None:
        self._kinds = kinds
        self._may_hear = may_hear
        self._heard: dict[HintKind, dict[str, None] | None] = {}
        self._rung = asyncio.Event()

    def hear(self, hint: Hint) -> None:
        """Take a hint."""
        allowed = self._may_hear(hint) if hint.kind in self._kinds else None
        if allowed is None:
            return
        hint = allowed
        known = self._heard.setdefault(hint.kind, {})
        if known is not None:
            known.update(dict.fromkeys(hint.subjects))
            if not hint.subjects or len(known) > SUBJECTS:
                self._heard[hint.kind] = None
        self._rung.set()

    async def take(self, seconds: float) -> list[Hint]:
        """Wait for hints, at most so long, and return what there is."""
        await wait_for_event(self._rung, seconds)
        self._rung.clear()
        heard, self._heard = self._heard, {}
        return [Hint(kind, tuple(subjects or ())) for kind, subjects in heard.items()]

    def wake(self) -> None:
        """Have `take` return."""
        self._rung.set()


class Waiter:
    """One claim that waits. `ended`: it is to be answered now, whatever there is."""

    def __init__(self, queues: Iterable[str], labels: frozenset[str]) -> None:
        self.groups: tuple[Group, ...] = tuple((queue, labels) for queue in queues)
        self.ended = False
        self._rung = asyncio.Event()

    def wake(self) -> None:
        """Have it look."""
        self._rung.set()

    def end(self) -> None:
        """Have it answered."""
        self.ended = True
        self._rung.set()

    async def wait(self, seconds: float) -> None:
        """Wait until woken, at most so long."""
        await wait_for_event(self._rung, seconds)
        self._rung.clear()


class Hub:
    """What goes on between the store and those who wait. Lives in one event loop.

    `on_access` is called with the ids of tokens that have changed.
    """

    def __init__(self, store: Store, on_access: Callable[[Sequence[str]], None]) -> None:
        self._store = store
        self._on_access = on_access
        self._streams: set[Stream] = set()
        self._waiting: dict[Group, dict[Waiter, None]] = {}
        self._by_worker: dict[str, Waiter] = {}
        self._stop: Callable[[], None] | None = None
        self.closing = False

    def open(self) -> None:
        """Listen to the store, from the running event loop on."""
        loop, here = asyncio.get_running_loop(), threading.get_ident()

        def hear(hint: Hint) -> None:
            if threading.get_ident() == here:
                loop.call_soon(self._hear, hint)
                return
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._hear, hint)

        self._stop = self._store.listen(KINDS, hear)

    def close(self) -> None:
        """Have everybody answered, and listen no more."""
        self.closing = True
        if self._stop is not None:
            self._stop()
            self._stop = None
        for waiter in {each for group in self._waiting.values() for each in group}:
            waiter.end()
        for stream in self._streams:
            stream.wake()

    @contextmanager
    def stream(
        self, kinds: frozenset[HintKind], may_hear: Callable[[Hint], Hint | None]
    ) -> Generator[Stream]:
        """Pass hints on to a stream within the context, as far as it `may_hear` them."""
        stream = Stream(kinds, may_hear)
        self._streams.add(stream)
        try:
            yield stream
        finally:
            self._streams.discard(stream)

    @contextmanager
    def waiting(
        self, worker: str, queues: Iterable[str], labels: frozenset[str]
    ) -> Generator[Waiter]:
        """Have a worker's claim woken within the context. Its earlier one is answered now."""
        self.end_waiting(worker)
        waiter = self._by_worker[worker] = Waiter(queues, labels)
        for group in waiter.groups:
            self._waiting.setdefault(group, {})[waiter] = None
        if self.closing:
            waiter.end()
        try:
            yield waiter
        finally:
            if self._by_worker.get(worker) is waiter:
                del self._by_worker[worker]
            for group in waiter.groups:
                others = self._waiting[group]
                others.pop(waiter, None)
                if not others:
                    del self._waiting[group]

    def end_waiting(self, worker: str) -> None:
        """Have the claim of a worker answered, if one waits."""
        waiter = self._by_worker.get(worker)
        if waiter is not None:
            waiter.end()

    def found(self, waiter: Waiter) -> None:
        """Hear that a claim has found something: there may be more for the next."""
        for group in waiter.groups:
            self._wake_next(group, waiter)

    def _hear(self, hint: Hint) -> None:
        for stream in self._streams:
            stream.hear(hint)
        match hint.kind:
            case "work":
                for group in list(self._waiting):
                    if not hint.subjects or group[0] in hint.subjects:
                        self._wake_next(group, None)
            case "access":
                self._on_access(hint.subjects)
            case _:
                return

    def _wake_next(self, group: Group, but: Waiter | None) -> None:
        line = self._waiting.get(group, {})
        first = next((each for each in line if each is not but), None)
        if first is not None:
            # To the end of the line, so that one which can do nothing does not keep the others.
            del line[first]
            line[first] = None
            first.wake()
