"""Passes the store's hints on to streams of hints and to waiting claims.

A job wakes one waiting claim, not all: of the claims that wait for its queue, the first for each
set of labels. When that one has found a job, it wakes the next, because there may be more.
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
# A slow stream buffers at most this many subjects; beyond that, its hint is about any subject.
MAX_SUBJECTS = 1000

# Claims that wait for the same jobs: a queue and the worker's labels.
Group = tuple[str, frozenset[str]]
HintFilter = Callable[[Hint], Hint | None]


class HintBuffer:
    """The hints for one stream, merged until they are sent."""

    def __init__(self, kinds: frozenset[HintKind], visible: HintFilter) -> None:
        self._kinds = kinds
        self._visible = visible
        # kind -> subjects in order; None: any subject
        self._hints: dict[HintKind, dict[str, None] | None] = {}
        self._changed = asyncio.Event()

    def add(self, hint: Hint) -> None:
        """Add the visible part of a hint."""
        visible = self._visible(hint) if hint.kind in self._kinds else None
        if visible is None:
            return
        subjects = self._hints.setdefault(visible.kind, {})
        if subjects is not None:
            subjects.update(dict.fromkeys(visible.subjects))
            if not visible.subjects or len(subjects) > MAX_SUBJECTS:
                self._hints[visible.kind] = None
        self._changed.set()

    async def take_all(self, seconds: float) -> list[Hint]:
        """Wait for hints, at most `seconds`, and remove and return them."""
        await wait_for_event(self._changed, seconds)
        self._changed.clear()
        hints, self._hints = self._hints, {}
        return [Hint(kind, tuple(subjects or ())) for kind, subjects in hints.items()]

    def wake(self) -> None:
        """Make `take_all` return now."""
        self._changed.set()


class WaitingClaim:
    """A claim that waits for a job. When `ended`, it must be answered with the jobs there are."""

    def __init__(self, queues: Iterable[str], labels: frozenset[str]) -> None:
        # A queue that is named twice is one group.
        self.groups: tuple[Group, ...] = tuple(dict.fromkeys((queue, labels) for queue in queues))
        self.ended = False
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Make it check for jobs."""
        self._woken.set()

    def end(self) -> None:
        """End the waiting."""
        self.ended = True
        self._woken.set()

    async def sleep(self, seconds: float) -> None:
        """Wait until woken or ended, at most `seconds`."""
        await wait_for_event(self._woken, seconds)
        self._woken.clear()


class Hub:
    """Passes the store's hints to the requests that wait for them. Belongs to one event loop.

    `on_tokens_changed` is called with the ids of the tokens; without ids any may have changed.
    """

    def __init__(self, store: Store, on_tokens_changed: Callable[[Sequence[str]], None]) -> None:
        self._store = store
        self._on_tokens_changed = on_tokens_changed
        self._streams: set[HintBuffer] = set()
        # By queue, the claims of a group in the order in which they are woken.
        self._claims: dict[str, dict[Group, dict[WaitingClaim, None]]] = {}
        self._claim_of_worker: dict[str, WaitingClaim] = {}
        self._stop_listening: Callable[[], None] | None = None
        self.closing = False
        # How many hints there were: equal numbers mean that nothing happened in between.
        self.distributed = 0

    def open(self) -> None:
        """Listen to the store's hints, for the running event loop."""
        loop, loop_thread = asyncio.get_running_loop(), threading.get_ident()

        def receive(hint: Hint) -> None:
            if threading.get_ident() == loop_thread:
                loop.call_soon(self._distribute, hint)
                return
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._distribute, hint)

        self._stop_listening = self._store.listen(KINDS, receive)

    def close(self) -> None:
        """Stop listening, and end all waiting claims and streams."""
        self.closing = True
        if self._stop_listening is not None:
            self._stop_listening()
            self._stop_listening = None
        for groups in self._claims.values():
            for claim in {each for claims in groups.values() for each in claims}:
                claim.end()
        for stream in self._streams:
            stream.wake()

    @contextmanager
    def stream(self, kinds: frozenset[HintKind], visible: HintFilter) -> Generator[HintBuffer]:
        """Fill a buffer with hints within the context."""
        stream = HintBuffer(kinds, visible)
        self._streams.add(stream)
        try:
            yield stream
        finally:
            self._streams.discard(stream)

    @contextmanager
    def waiting_claim(
        self, worker: str, queues: Iterable[str], labels: frozenset[str]
    ) -> Generator[WaitingClaim]:
        """Wake a worker's claim for jobs within the context. Its earlier claim ends now."""
        self.end_claim(worker)
        claim = self._claim_of_worker[worker] = WaitingClaim(queues, labels)
        for group in claim.groups:
            self._claims.setdefault(group[0], {}).setdefault(group, {})[claim] = None
        if self.closing:
            claim.end()
        try:
            yield claim
        finally:
            if self._claim_of_worker.get(worker) is claim:
                del self._claim_of_worker[worker]
            for group in claim.groups:
                groups = self._claims[group[0]]
                groups[group].pop(claim, None)
                if not groups[group]:
                    del groups[group]
                if not groups:
                    del self._claims[group[0]]

    def end_claim(self, worker: str) -> None:
        """End the waiting claim of a worker, if it has one."""
        claim = self._claim_of_worker.get(worker)
        if claim is not None:
            claim.end()

    def wake_next(self, claim: WaitingClaim) -> None:
        """Wake the claims after one that has found jobs: there may be more."""
        for group in claim.groups:
            self._wake_first(group, claim)

    def _distribute(self, hint: Hint) -> None:
        self.distributed += 1
        for stream in self._streams:
            stream.add(hint)
        match hint.kind:
            case "work":
                for queue in hint.subjects or list(self._claims):
                    for group in self._claims.get(queue, {}):
                        self._wake_first(group, None)
            case "access":
                self._on_tokens_changed(hint.subjects)
            case _:
                return

    def _wake_first(self, group: Group, except_for: WaitingClaim | None) -> None:
        claims = self._claims.get(group[0], {}).get(group, {})
        first = next((each for each in claims if each is not except_for), None)
        if first is not None:
            # It moves to the end, so that a claim that can take no job does not block the others.
            del claims[first]
            claims[first] = None
            first.wake()
