"""An answer that may still be on its way: blocking code calls `.result()`, async code awaits it.

One store serves both kinds of callers with it, so no operation is written twice.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Coroutine, Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

T = TypeVar("T")


class Pending(Generic[T]):
    """An answer to one question. One caller at a time may wait for it."""

    __slots__ = ("_done", "_error", "_gate", "_loop", "_value")

    def __init__(self) -> None:
        self._done = False
        self._value: T | None = None
        self._error: BaseException | None = None
        self._gate: threading.Lock | None = None
        self._loop: tuple[AbstractEventLoop, Future[None]] | None = None

    @property
    def done(self) -> bool:
        """Whether the answer is here."""
        return self._done

    def result(self, timeout: float | None = None) -> T:
        """Block until the answer is here and return it, or raise what went wrong.

        `timeout` is in seconds; TimeoutError when it runs out. The question stays asked.
        """
        if not self._done:
            gate = threading.Lock()
            gate.acquire()
            self._gate = gate
            # Set before the second look: whoever answers looks for the gate after `_done`.
            if not self._done and not gate.acquire(timeout=-1 if timeout is None else timeout):
                raise TimeoutError(f"no answer within {timeout} s")
        return self._answer()

    def __await__(self) -> Generator[Any, None, T]:
        if not self._done:
            # Whoever awaits has a loop, so asyncio is loaded; importing it at the top would make
            # blocking programs pay 20 ms for nothing.
            loop = sys.modules["asyncio"].get_running_loop()
            future = loop.create_future()
            self._loop = loop, future
            if not self._done:
                yield from future
        return self._answer()

    def resolve(self, value: T) -> None:
        """Give the answer. Call `wake` afterwards, once for many answers."""
        self._value = value
        self._done = True

    def fail(self, error: BaseException) -> None:
        """Give an error as the answer. Call `wake` afterwards."""
        self._error = error
        self._done = True

    def _answer(self) -> T:
        if self._error is not None:
            try:
                raise self._error
            finally:
                # The traceback holds this frame and this frame holds the error: a cycle.
                del self
        return cast("T", self._value)


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
    """Wake whoever waits for these answers, with one call into each event loop."""
    loops: dict[AbstractEventLoop, list[Future[None]]] = {}
    for answer in answers:
        if answer._gate is not None:  # noqa: SLF001 - this module's own class
            answer._gate.release()  # noqa: SLF001
        elif answer._loop is not None:  # noqa: SLF001
            loop, future = answer._loop  # noqa: SLF001
            loops.setdefault(loop, []).append(future)
    for loop, futures in loops.items():
        try:
            loop.call_soon_threadsafe(_set, futures)
        except RuntimeError:  # the loop was closed under its waiters; nobody is left to tell
            continue


class _Thread(threading.local):
    may_block = False


_thread = _Thread()


@contextmanager
def blocking() -> Generator[None]:
    """Have what is asked within carried out here and now, though an event loop runs here.

    For whoever knows that it is over in a moment, and that nobody else waits for this loop.
    """
    _thread.may_block = True
    try:
        yield
    finally:
        _thread.may_block = False


def in_event_loop() -> bool:
    """Say whether an event loop runs in this thread that nothing may block."""
    if _thread.may_block:
        return False
    # A look that costs nothing, and does not load asyncio where nobody uses it.
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """Finish async code that has nothing to wait for, without an event loop."""
    try:
        work.send(None)
    except StopIteration as done:
        answer: T = done.value
        return answer
    work.close()
    raise RuntimeError("blocking code reached something that really waits")


def _set(futures: list[Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
