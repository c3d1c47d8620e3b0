"""Runs coroutine jobs inside the slot's own task, each in a context of its own."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Generator
from contextlib import suppress
from typing import Any

from ..core.codec import encode_result
from ..core.error_info import error_info
from ..core.job import ErrorInfo
from ..core.job_context import CURRENT, CurrentJob
from ..core.lifecycle import Failed, Snoozed, Succeeded
from ..errors import EncodingError, JobCancelledError, Snooze
from .job_control import Control, Ending, Stop, Stopped

Steps = Generator[Any, Any, Any]

ENDED = object()
NOTHING = Succeeded()


class CoroutineRunner:
    """A job costs no task. A stop cancels the slot's task while the job is in it, again at each
    repetition; a job that catches this and goes on keeps running.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, control: Control) -> Ending:
        """Run one coroutine job."""
        if control.stop_request is not None:
            return Stopped()
        if self._loop is None:
            # Looking it up each time would cost a system call, as much as all the rest.
            self._loop = asyncio.get_running_loop()
        slot = asyncio.current_task(self._loop)
        assert slot is not None, "a runner serves one event loop"
        job = _Job(control)
        context = contextvars.copy_context()
        steps = job.run().__await__()
        try:
            # Unlike send(), next() with a default ends without an exception, which costs more
            # than the whole step of a job that never waits.
            wanted = context.run(next, steps, ENDED)
            if wanted is not ENDED:
                await _Rest(steps, wanted, context, control, slot)
            value = job.value
            ending: Ending = NOTHING
            if value is not None:
                ending = Succeeded(encode_result(value, job.task.name))
        except _SlotEndedError:
            context.run(_close, steps)
            raise asyncio.CancelledError from None
        except BaseException as error:  # noqa: BLE001 - a job may raise anything; the worker must not die of it
            ending = _ending(error, control)
        if slot.cancelling():
            await _clear(slot)
        return ending

    async def close(self) -> None:
        """Nothing is held."""


class _Job:
    """The call of a job's function, and what came out of it."""

    __slots__ = ("_control", "task", "value")

    def __init__(self, control: Control) -> None:
        self._control = control
        self.task = control.task
        self.value: Any = None

    async def run(self) -> None:
        CURRENT.set(CurrentJob(self._control))
        args, kwargs = self.task.args.decode(self._control.job.args)
        self.value = await self.task.function(*args, **kwargs)


class _SlotEndedError(BaseException):
    """Whoever owns the slot has cancelled it: that is no ending of the job."""


class _Rest:
    """A coroutine from its first suspension on. Each step runs in the job's own context."""

    __slots__ = ("_asked", "_context", "_control", "_slot", "_steps", "_wanted")

    def __init__(
        self,
        steps: Steps,
        wanted: Any,
        context: contextvars.Context,
        control: Control,
        slot: asyncio.Task[Any],
    ) -> None:
        self._steps = steps
        self._wanted = wanted
        self._context = context
        self._control = control
        self._slot = slot
        self._asked = 0

    def __await__(self) -> Generator[Any, Any, None]:
        run, steps, slot, wanted = self._context.run, self._steps, self._slot, self._wanted
        slot_ended = False
        self._control.on_stop(self._stop)
        try:
            while True:
                self._asked = 0
                before = slot.cancelling()
                try:
                    given = yield wanted
                    step = steps.send
                except BaseException as error:  # noqa: BLE001 - it belongs to the job, which decides
                    step, given = steps.throw, error
                    # Its end may come together with a stop, and must not be taken for that.
                    if slot.cancelling() > before + self._asked:
                        slot_ended = True
                        if self._control.abandoned:
                            raise _SlotEndedError from None
                wanted = run(step, given)
        except StopIteration:
            return
        except asyncio.CancelledError:
            # A timeout or task group of the job also cancels the slot, but then it catches that.
            if slot_ended and not self._control.stopping:
                raise _SlotEndedError from None
            raise
        finally:
            self._control.on_stop(None)

    def _stop(self, request: Stop) -> None:
        self._asked += 1
        self._slot.cancel(request.reason)


def _ending(error: BaseException, control: Control) -> Ending:
    match error:
        case Snooze():
            return Snoozed(error.delay)
        case asyncio.CancelledError() | JobCancelledError() if control.stopping:
            return Stopped()
        case asyncio.CancelledError():
            return Failed(ErrorInfo("CancelledError", "the job cancelled itself"))
        case EncodingError():
            return Failed(error_info(error), retry=False)
        case _:
            return Failed(error_info(error))


def _close(steps: Steps) -> None:
    """End a coroutine here and now, so that its `finally` is over before anybody is told."""
    with suppress(BaseException):  # whatever it does now, it is not asked to go on
        steps.close()


async def _clear(slot: asyncio.Task[Any]) -> None:
    """Take back what cancels the job has left on the slot, so that they hit nothing else."""
    while slot.cancelling():
        slot.uncancel()
    # Before Python 3.13 a cancel that was not thrown yet survives this; it is thrown here.
    if slot._must_cancel:  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public way to know
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
