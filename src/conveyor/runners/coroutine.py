"""Runs coroutine jobs inside the slot's own task, each in a context of its own."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine, Generator
from typing import Any

from ..codec import encode_result
from ..current import CURRENT, CurrentJob
from ..errors import EncodingError, Snooze
from ..failure import error_info
from ..job import ErrorInfo
from ..lifecycle import Failed, Snoozed, Succeeded
from .control import Control, Ending, Stop, Stopped


class CoroutineRunner:
    """A job costs no task: its coroutine is stepped within a fresh context."""

    async def run(self, control: Control) -> Ending:
        """Run one coroutine job. A stop cancels it, again at each repetition."""
        slot = _Slot(control)
        try:
            args, kwargs = control.task.args.decode(control.job.args)
        except EncodingError as error:
            return Failed(error_info(error), retry=False)
        try:
            value = await _Stepper(control.task.function(*args, **kwargs), control)
            # From here on a cancel must not hit what follows the job.
            slot.leave()
            return Succeeded(encode_result(value, control.task.name))
        except asyncio.CancelledError:
            slot.leave()
            if control.stop_request is None:
                return Failed(ErrorInfo("CancelledError", "the job cancelled itself"))
            return Stopped()
        except Snooze as wish:
            return Snoozed(wish.delay)
        except EncodingError as error:
            return Failed(error_info(error), retry=False)
        except BaseException as error:  # noqa: BLE001 - a job may raise anything; the worker must not die of it
            return Failed(error_info(error))
        finally:
            slot.leave()

    async def close(self) -> None:
        """Nothing is held."""


class _Slot:
    """Cancels the slot's task while the job is in it, and clears what is left of that after."""

    __slots__ = ("_task",)

    def __init__(self, control: Control) -> None:
        self._task: asyncio.Task[Any] | None = asyncio.current_task()
        control.on_stop(self._stop)

    def leave(self) -> None:
        task, self._task = self._task, None
        while task is not None and task.cancelling():
            task.uncancel()

    def _stop(self, request: Stop) -> None:
        if self._task is not None:
            self._task.cancel(request.reason)


class _Stepper:
    """Awaits a coroutine, running each of its steps in one context that is the job's alone."""

    __slots__ = ("_context", "_control", "_work")

    def __init__(self, work: Coroutine[Any, Any, Any], control: Control) -> None:
        self._work = work
        self._control = control
        self._context = contextvars.copy_context()

    def __await__(self) -> Generator[Any, Any, Any]:
        run, work = self._context.run, self._work
        run(CURRENT.set, CurrentJob(self._control))
        step, given = work.send, None
        while True:
            try:
                wanted = run(step, given)
            except StopIteration as done:
                return done.value
            try:
                given = yield wanted
                step = work.send
            except BaseException as error:  # noqa: BLE001 - it belongs to the job, which decides
                step, given = work.throw, error
