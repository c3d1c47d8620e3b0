"""Calls the application's event handlers in a thread of their own, one event after the other.

So a handler that raises, blocks or is slow keeps no job and no worker waiting. What does not fit
into the queue is dropped and counted. Each kind of trouble is logged once for each handler.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
import time
from collections import Counter, deque
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any

from ..core.event_log import open_event_log
from ..core.events import Event
from ..core.hooks import Handler, Hooks, Subscription

log = open_event_log("events")

# How many events wait for their handlers at most.
MOST_WAITING = 10_000
# How long an async handler may take, in seconds; then it is cancelled. A blocking one cannot be.
HANDLER_TIMEOUT = 30.0
# How long a worker that exits waits for its handlers, in seconds: within the 4 s that it has beyond
# its drain time, of which jobs that had to be stopped leave it half a second.
FLUSH_TIMEOUT, HURRIED_FLUSH = 2.0, 0.4
FLUSH_POLL = 0.005


class EventDelivery:
    """The events of one worker, until their handlers have got them. The thread starts on demand."""

    def __init__(
        self,
        hooks: Hooks,
        *,
        most: int = MOST_WAITING,
        handler_timeout: float = HANDLER_TIMEOUT,
    ) -> None:
        self._hooks = hooks
        self._most = most
        self._handler_timeout = handler_timeout
        self._waiting: deque[Event] = deque()
        self._arrived = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        # Which handler runs now; for the log.
        self._current: Handler | None = None
        self._said: set[tuple[str, int]] = set()
        self.failures: Counter[str] = Counter()
        self.dropped = 0

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        """Who wants events; more may be added."""
        return self._hooks.subscriptions

    def wants(self, kind: type[Event]) -> bool:
        """Whether there is a handler for this class of events."""
        return bool(self._handlers(kind))

    def emit(self, event: Event) -> None:
        """Pass an event on to its handlers, soon. Any thread may call it; it never blocks."""
        if not self.wants(type(event)):
            return
        with self._arrived:
            if self._closing or len(self._waiting) >= self._most:
                self.dropped += 1
                is_first = self.dropped == 1
            else:
                is_first = False
                self._waiting.append(event)
                self._start()
                self._arrived.notify()
        if is_first:
            self._say("dropped", self._current, f"{self._most} events wait for their handlers")

    async def close(self, timeout: float = FLUSH_TIMEOUT) -> None:
        """Let the handlers finish for `timeout` seconds; what they have not got then is dropped."""
        with self._arrived:
            self._closing = True
            thread = self._thread
            self._arrived.notify()
        deadline = time.monotonic() + timeout
        # Not joined in an executor's thread: executors are gone when atexit stops a worker.
        while thread is not None and thread.is_alive() and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(FLUSH_POLL)
        with self._arrived:
            left = len(self._waiting)
            self._waiting.clear()
        self.dropped += left
        if left:
            self._say("dropped", self._current, "the worker has ended before they were handled")
        if self.dropped or self.failures:
            with suppress(BaseException):  # a log handler of the application may raise anything
                failed = sum(self.failures.values())
                log.warning("events.lost dropped=%d handlers_failed=%d", self.dropped, failed)

    def _start(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="conveyor-events", daemon=True)
            with suppress(RuntimeError):  # no room for another thread: the next event tries again
                thread.start()
                self._thread = thread

    def _handlers(self, kind: type[Event]) -> Sequence[Handler]:
        return [each.handler for each in self._hooks.subscriptions if issubclass(kind, each.kinds)]

    # -- in the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            while (event := self._next()) is not None:
                for handler in self._handlers(type(event)):
                    self._current = handler
                    self._call(handler, event, runner)
                    self._current = None

    def _next(self) -> Event | None:
        with self._arrived:
            while not self._waiting:
                if self._closing:
                    return None
                self._arrived.wait()
            return self._waiting.popleft()

    def _call(self, handler: Handler, event: Event, runner: asyncio.Runner) -> None:
        try:
            contextvars.copy_context().run(self._handle, handler, event, runner)
        except BaseException as error:  # noqa: BLE001 - a handler may raise anything, even SystemExit
            self.failures[_name(handler)] += 1
            self._say("handler_failed", handler, event.name, error)

    def _handle(self, handler: Handler, event: Event, runner: asyncio.Runner) -> None:
        answer = handler(event)
        if inspect.isawaitable(answer):
            runner.run(_within(answer, self._handler_timeout))

    def _say(
        self, what: str, handler: Handler | None, why: str, error: BaseException | None = None
    ) -> None:
        """Log a kind of trouble once for each handler; a log handler may fail, too."""
        if (what, id(handler)) in self._said:
            return
        self._said.add((what, id(handler)))
        with suppress(BaseException):
            name = "" if handler is None else _name(handler)
            traced = None if error is None else (type(error), error, error.__traceback__)
            log.error("events.%s handler=%s at=%s (said once)", what, name, why, exc_info=traced)


async def _within(answer: Awaitable[Any], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await answer


def _name(handler: Handler) -> str:
    return getattr(handler, "__qualname__", "") or type(handler).__name__
