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

NOTHING = Succeeded()


class CoroutineRunner:
    """A job costs no task: its coroutine is stepped within a fresh context.

    A stop cancels the slot's task while the job is in it, again at each repetition.
    """

    async def run(self, control: Control) -> Ending:
        """Run one coroutine job."""
        if control.stop_request is not None:
            return Stopped()
        visit = _Visit(control)
        try:
            args, kwargs = control.task.args.decode(control.job.args)
            value = await visit.call(control.task.function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - a job may raise anything; the worker must not die of it
            ending = _ending(error, control)
        else:
            ending = NOTHING if value is None else _result(value, control)
        if visit.task.cancelling():
            await visit.clear()
        return ending

    async def close(self) -> None:
        """Nothing is held."""
