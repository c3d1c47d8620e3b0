"""`Conveyor.submit`: runs a function call as a job and returns a Future of its result."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future, wait
from typing import Any, Generic, TypeVar

from ..core.codec import ArgsCodec, ResultCodec
from ..core.job import WAITING
from ..core.job_context import CURRENT, check_stop, waiting_for
from ..core.task import Task, default_name
from ..errors import JobCancelledError, UnavailableError, UsageError
from .embedded import WorkerThread
from .enqueue import WITHDRAWAL_TIMEOUT
from .job_handle import Job

T = TypeVar("T")

_numbers = itertools.count(1)


class JobFuture(Future[T], Generic[T]):
    """The Future of a submitted call. `job` is its job, once it is enqueued."""

    def __init__(self) -> None:
        super().__init__()
        self.job: Job[T] | None = None
        self._once = threading.RLock()

    def follow(self, enqueue: Coroutine[Any, Any, list[Job[T]]], thread: WorkerThread) -> None:
        """Enqueue in the worker's loop, and complete this Future when the job is final."""
        enqueued: Future[None] = Future()
        following = thread.follow(self._follow(enqueue, enqueued), self)
        try:
            enqueued.result()
        except BaseException:
            # The caller was interrupted: a call that was not accepted by now must not be later.
            following.cancel()
            wait([enqueued], WITHDRAWAL_TIMEOUT)
            raise

    def result(self, timeout: float | None = None) -> T:
        """Wait for the call and return its result. In a job that is asked to stop, this ends."""
        self._wait_in_job(timeout)
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the call and return its exception, if any; otherwise as `result`."""
        self._wait_in_job(timeout)
        return super().exception(timeout)

    def _wait_in_job(self, timeout: float | None) -> None:
        if self.job is None or self.done() or CURRENT.get() is None:
            return
        ended = threading.Event()
        self.add_done_callback(lambda _: ended.set())
        with waiting_for(f"job {self.job.id}", ended):
            check_stop()
            if not ended.wait(timeout):
                raise TimeoutError
            check_stop()

    def cancel(self) -> bool:
        """Cancel the job. Returns True if it will never run, False if it runs or has ended.

        A running call is asked to stop; once its code has ended so, the Future is cancelled.
        """
        if self.done():
            return self.cancelled()
        if self.job is None or not self.job.cancel(reason="its Future was cancelled"):
            return False
        self._mark_cancelled()
        return True

    def cancel_if_waiting(self) -> None:
        """Cancel the job if none of its code has run yet."""
        if self.job is not None and self.job.refresh().state in WAITING:
            self.cancel()

    def _mark_cancelled(self) -> None:
        # `cancel` and `_follow` both call this, in either order.
        with self._once:
            if not self.done():
                super().cancel()
                self.set_running_or_notify_cancel()

    async def _follow(
        self, enqueue: Coroutine[Any, Any, list[Job[T]]], enqueued: Future[None]
    ) -> None:
        try:
            [self.job] = await enqueue
        except BaseException as error:
            enqueued.set_exception(error)
            raise
        enqueued.set_result(None)
        try:
            value = await self.job
        except JobCancelledError:
            self._mark_cancelled()
        except asyncio.CancelledError:
            self.set_exception(
                UnavailableError(
                    f"the belt was stopped before job {self.job.id} had ended; the next worker of "
                    "its store runs it"
                )
            )
            raise
        except Exception as error:  # noqa: BLE001 - the Future raises it where its result is asked for
            self.set_exception(error)
        else:
            self.set_result(value)


def call_task(function: Callable[..., Any], known: Mapping[str, Task], *, durable: bool) -> Task:
    """Return a task for a plain function, or the registered one. UsageError if it cannot run it."""
    if not callable(function):
        raise UsageError(f"submit() needs a function, got {function!r}")
    importable = _is_importable(function)
    if durable and not importable:
        raise UsageError(
            f"{function!r} cannot be imported by name, which a stored job needs: "
            "submit a module-level function, or use Conveyor('memory:')"
        )
    name = default_name(function) if importable else f"{_label(function)}#{next(_numbers)}"
    task = known.get(name)
    if task is not None and task.function is function:
        return task
    if task is not None:
        name = f"{name}#{next(_numbers)}"
    return Task(
        name=name,
        kind="coroutine" if inspect.iscoroutinefunction(function) else "thread",
        function=function,
        where=f"{getattr(function, '__module__', '')}:{_label(function)}",
        args=ArgsCodec(function),
        results=ResultCodec(function),
    )


def _is_importable(function: Callable[..., Any]) -> bool:
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    return getattr(module, _label(function), None) is function


def _label(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)
