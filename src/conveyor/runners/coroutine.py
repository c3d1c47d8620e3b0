"""Runs coroutine jobs inside the task of their slot, each in its own context."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Generator
from contextlib import suppress
from functools import partial
from typing import Any

from ..core.job import ErrorInfo
from ..core.job_context import CURRENT, CurrentJob
from ..core.lifecycle import Failed, Succeeded
from .arounds import await_within
from .job_control import JobControl, RunResult, Stopped, StopRequest
from .job_exceptions import run_result_of_exception
from .machine_fault import MachineFault

Steps = Generator[Any, Any, Any]

FINISHED = object()
NO_RESULT = Succeeded()


class CoroutineRunner:
    """Runs each job in its slot's task, so a job costs no task of its own.

    Each stop request cancels the slot's task while the job runs in it. A job that catches the
    CancelledError and continues keeps running.
    """

    async def run(self, control: JobControl) -> RunResult:
        """Run one coroutine job."""
        if control.stop_request is not None:
            return Stopped()
        slot = control.slot or asyncio.current_task()
        assert slot is not None, "it runs in an event loop"
        control.slot = slot
        call = _Call(control)
        context = contextvars.copy_context()
        code = call.run()
        steps = code.__await__()
        try:
            # Unlike send(), next() with a default finishes without an exception, which would cost
            # more than the whole step of a job that never waits.
            awaited = context.run(next, steps, FINISHED)
            if awaited is not FINISHED:
                control.code = code
                await _SuspendedCall(steps, awaited, context, control, slot)
            value = call.value
            run_result: RunResult = NO_RESULT
            results = call.task.results
            if value is not None or not results.allows_none:
                run_result = Succeeded(results.encode(value, call.task.name))
        except _SlotCancelledError:
            context.run(_close, steps)
            raise asyncio.CancelledError from None
        except BaseException as error:  # noqa: BLE001 - a job may raise anything; the worker must survive it
            run_result = _run_result(error, control)
        control.slot = control.code = None
        if slot.cancelling():
            await _clear_cancellations(slot)
        return run_result

    async def probe(self) -> MachineFault | None:
        """Return None: a coroutine needs nothing of the machine."""
        return None

    async def close(self) -> None:
        """Do nothing: this runner has no threads and no processes."""


class _Call:
    """The call of a job's function, and the value it returned."""

    __slots__ = ("_control", "task", "value")

    def __init__(self, control: JobControl) -> None:
        self._control = control
        self.task = control.task
        self.value: Any = None

    async def run(self) -> None:
        CURRENT.set(CurrentJob(self._control))
        args, kwargs = self.task.args.decode(self._control.job.args)
        if not self.task.arounds:
            self.value = await self.task.function(*args, **kwargs)
            return
        call = partial(self.task.function, *args, **kwargs)
        self.value = await await_within(self.task.arounds, CurrentJob(self._control), call)


class _SlotCancelledError(BaseException):
    """The slot's owner has cancelled its task, which does not end the job."""


class _SuspendedCall:
    """A call from its first suspension on. Each step runs in the job's own context."""

    __slots__ = ("_awaited", "_context", "_control", "_slot", "_steps", "_stops")

    def __init__(
        self,
        steps: Steps,
        awaited: Any,
        context: contextvars.Context,
        control: JobControl,
        slot: asyncio.Task[Any],
    ) -> None:
        self._steps = steps
        self._awaited = awaited
        self._context = context
        self._control = control
        self._slot = slot
        self._stops = 0

    def __await__(self) -> Generator[Any, Any, None]:
        run, steps, slot, awaited = self._context.run, self._steps, self._slot, self._awaited
        slot_cancelled = False
        self._control.on_stop(self._stop)
        try:
            while True:
                self._stops = 0
                before = slot.cancelling()
                try:
                    given = yield awaited
                    step = steps.send
                except BaseException as error:  # noqa: BLE001 - the job decides what to do with it
                    step, given = steps.throw, error
                    # More cancels than stops: the slot itself was cancelled, perhaps together
                    # with a stop of the job.
                    if slot.cancelling() > before + self._stops:
                        slot_cancelled = True
                        if self._control.abandoned:
                            raise _SlotCancelledError from None
                awaited = run(step, given)
        except StopIteration:
            return
        except asyncio.CancelledError:
            # A timeout or task group of the job also cancels the slot, but catches that itself.
            if slot_cancelled and not self._control.stopping:
                raise _SlotCancelledError from None
            raise
        finally:
            self._control.on_stop(None)

    def _stop(self, request: StopRequest) -> None:
        self._stops += 1
        self._slot.cancel(request.reason)


def _run_result(error: BaseException, control: JobControl) -> RunResult:
    control.exception = error
    # Not isinstance(), which asks for `error.__class__`: that may be code of the job, and raise.
    if not issubclass(type(error), asyncio.CancelledError):
        return run_result_of_exception(
            error, stopping=control.stopping, retry_on=control.job.options.retry_on
        )
    if control.stopping:
        return Stopped()
    return Failed(ErrorInfo("CancelledError", "the job cancelled itself"))


def _close(steps: Steps) -> None:
    """Close a coroutine now, so that its `finally` blocks run before the slot ends."""
    with suppress(BaseException):  # whatever it raises, it is not resumed
        steps.close()


async def _clear_cancellations(slot: asyncio.Task[Any]) -> None:
    """Undo the cancels that the job has left on the slot, so that they affect nothing else."""
    while slot.cancelling():
        slot.uncancel()
    # Before Python 3.13, uncancel() keeps a cancel that was not raised yet: raise it here.
    if slot._must_cancel:  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public API for it
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
