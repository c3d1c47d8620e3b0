"""Waiting for a store in blocking code or in a coroutine: one body of code serves both.

Code that takes a `CallStyle` is written as `async def`. For blocking code `run_sync` runs it to its
end in one step, because nothing in it really suspends.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

from ..core.job_context import check_stop
from ..core.pending import Pending, in_event_loop
from ..core.timeout import wait_for_event
from ..errors import UsageError

if TYPE_CHECKING:
    from asyncio import Event

T = TypeVar("T")


class WakeEvent(Protocol):
    """An event that one caller waits for and that any thread may set."""

    def set(self) -> None:
        """Wake the caller, now or at its next wait."""
        ...

    async def wait(self, seconds: float) -> None:
        """Wait until the event is set, at most `seconds`, and clear it.

        In a blocking job that was asked to stop, raises JobCancelledError.
        """
        ...


class CallStyle(Protocol):
    """How one kind of code waits for results and for hints."""

    async def wait_for(self, pending: Pending[T], timeout: float | None = None) -> T:
        """Wait for a result and return it; TimeoutError after `timeout` seconds."""
        ...

    def wake_event(self) -> WakeEvent:
        """Return an event to wait for."""
        ...


class BlockingCalls:
    """For code without an event loop: waiting blocks the thread."""

    async def wait_for(self, pending: Pending[T], timeout: float | None = None) -> T:
        """Block until the result is there; TimeoutError after `timeout` seconds."""
        return pending.result(timeout)

    def wake_event(self) -> WakeEvent:
        """Return an event that blocks; UsageError where that would block an event loop."""
        if in_event_loop():
            raise UsageError(
                "this call would have to wait, and that would block the running event loop: "
                "use its twin with the prefix `a` (aenqueue, aresult, acancel) and await it"
            )
        return _ThreadEvent()


class AsyncCalls:
    """For coroutines: the event loop runs on during a wait."""

    async def wait_for(self, pending: Pending[T], timeout: float | None = None) -> T:
        """Await the result; TimeoutError after `timeout` seconds."""
        if timeout is None:
            return await pending
        async with sys.modules["asyncio"].timeout(timeout):
            return await pending

    def wake_event(self) -> WakeEvent:
        """Return an event of the running event loop."""
        return _LoopEvent()


class _ThreadEvent:
    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self, seconds: float) -> None:
        check_stop()
        self._event.wait(seconds)
        self._event.clear()
        check_stop()


class _LoopEvent:
    def __init__(self) -> None:
        asyncio = sys.modules["asyncio"]
        self._loop = asyncio.get_running_loop()
        self._event: Event = asyncio.Event()

    def set(self) -> None:
        with suppress(RuntimeError):  # the loop was closed, so no coroutine waits any more
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, seconds: float) -> None:
        await wait_for_event(self._event, seconds)
        self._event.clear()
