"""`Pending`: an answer of a store. Threads call `.result()`, coroutines await it.

With it a store serves both, and no operation is written twice.
"""

from __future__ import annotations

import sys
import threading
from _thread import LockType  # `threading.Lock` is a function before Python 3.13
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

T = TypeVar("T")


class Pending(Generic[T]):
    """The answer to one call. Any number of threads and coroutines may wait for it."""

    __slots__ = ("_done", "_error", "_value", "_waiters")

    _value: T  # set only by `resolve`

    def __init__(self) -> None:
        self._done = False
        self._error: BaseException | None = None
        # Made here and not when a thread waits, so that two threads cannot make one each.
        self._waiters: list[LockType | Future[None] | _Callback] = []

    @property
    def done(self) -> bool:
        """Whether the answer is here."""
        return self._done

    def result(self, timeout: float | None = None) -> T:
        """Block until the answer is here and return it, or raise the error that it is.

        `timeout` is in seconds; TimeoutError when it expires. The call itself goes on, and its
        answer may be waited for again.
        """
        if not self._done:
            gate = threading.Lock()
            gate.acquire()
            self._waiters.append(gate)
            try:
                # Checked again because `wake` may have read the waiters before this one was added.
                if not self._done and not gate.acquire(timeout=-1 if timeout is None else timeout):
                    raise TimeoutError(f"no answer within {timeout} s")
            except BaseException:
                self._waiters.remove(gate)
                raise
        return self._answer()

    def __await__(self) -> Generator[Any, None, T]:
        if not self._done:
            # Code that awaits has a loop, so asyncio is loaded; importing it at the top would cost
            # blocking programs 20 ms.
            future = sys.modules["asyncio"].get_running_loop().create_future()
            self._waiters.append(future)
            try:
                if not self._done:
                    yield from future
            except BaseException:
                self._waiters.remove(future)
                raise
        return self._answer()

    def when_done(self, callback: Callable[[], object]) -> None:
        """Call `callback` once, when the answer is here: now, or later in any thread.

        For an answer that nobody waits for any more; `callback` must not block or raise.
        """
        waiter = _Callback(callback)
        if not self._done:
            self._waiters.append(waiter)
        # Checked after that, because `wake` may have read the waiters before.
        if self._done:
            waiter.call()

    def resolve(self, value: T) -> None:
        """Set the answer. Call `wake` afterwards, once for many answers."""
        self._value = value
        self._done = True

    def fail(self, error: BaseException) -> None:
        """Set an error as the answer. Call `wake` afterwards."""
        self._error = error
        self._done = True

    def _answer(self) -> T:
        if self._error is not None:
            try:
                raise self._error
            finally:
                # The traceback refers to this frame and this frame to the error: a cycle.
                del self
        return self._value


def ready(value: T) -> Pending[T]:
    """Return an answer that is already here."""
    answer: Pending[T] = Pending()
    answer.resolve(value)
    return answer


def failed(error: BaseException) -> Pending[Any]:
    """Return an answer that is already here and is an error."""
    answer: Pending[Any] = Pending()
    answer.fail(error)
    return answer


def wake(answers: Iterable[Pending[Any]]) -> None:
    """Wake all waiters of these answers, with one call into each event loop."""
    loops: dict[AbstractEventLoop, list[Future[None]]] = {}
    for answer in answers:
        waiters = answer._waiters  # noqa: SLF001 - this module's own class
        if not waiters:
            continue
        # A copy, because a waiter whose timeout expires meanwhile removes itself.
        for waiter in tuple(waiters):
            if isinstance(waiter, LockType):
                waiter.release()
            elif isinstance(waiter, _Callback):
                waiter.call()
            else:
                loops.setdefault(waiter.get_loop(), []).append(waiter)
    for loop, futures in loops.items():
        try:
            loop.call_soon_threadsafe(_complete, futures)
        except RuntimeError:  # the loop was closed, so none of its coroutines waits any more
            continue


class _Callback:
    """Called by `when_done` or by `wake`, whichever comes first."""

    __slots__ = ("_calls",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self._calls = [callback]

    def call(self) -> None:
        try:
            callback = self._calls.pop()  # in one step, so that one thread gets it
        except IndexError:
            return
        callback()


class _Thread(threading.local):
    may_block = False


_thread = _Thread()


@contextmanager
def blocking() -> Generator[None]:
    """Let calls within the context block this thread, even if an event loop runs in it.

    Only for calls that return in a moment, on a loop that nothing else waits for.
    """
    _thread.may_block = True
    try:
        yield
    finally:
        _thread.may_block = False


def in_event_loop() -> bool:
    """Return whether this thread runs an event loop, which must not be blocked."""
    if _thread.may_block:
        return False
    # Costs nothing, and does not import asyncio in programs without it.
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """Run async code that never suspends to its end, without an event loop."""
    try:
        work.send(None)
    except StopIteration as done:
        answer: T = done.value
        return answer
    work.close()
    raise RuntimeError("run_sync() was given code that suspends; it needs an event loop")


def _complete(futures: list[Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
