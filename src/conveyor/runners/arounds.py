"""Runs a job's function inside what the application wraps around its jobs."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
)
from types import TracebackType
from typing import Any

from ..core.around import AnyContext, Around
from ..core.job_context import CurrentJob
from ..errors import UsageError


def call_within(arounds: Sequence[Around], job: CurrentJob, call: Callable[[], Any]) -> Any:
    """Call blocking code inside the arounds, the first outermost; return what it returns.

    None if one of them suppresses an exception, as context managers can.
    """
    value = None
    with ExitStack() as stack:
        runner: asyncio.Runner | None = None
        for around in arounds:
            context = _enter(around, job)
            if isinstance(context, AbstractContextManager):
                stack.enter_context(context)
                continue
            if runner is None:
                runner = stack.enter_context(asyncio.Runner())
            stack.enter_context(_Blocking(context, runner))
        value = call()
    return value  # noqa: RET504 - it stays None if an exception is suppressed


async def await_within(
    arounds: Sequence[Around], job: CurrentJob, call: Callable[[], Awaitable[Any]]
) -> Any:
    """Do the same with a coroutine."""
    value = None
    async with AsyncExitStack() as stack:
        for around in arounds:
            context = _enter(around, job)
            if isinstance(context, AbstractContextManager):
                stack.enter_context(context)
            else:
                await stack.enter_async_context(context)
        value = await call()
    return value  # noqa: RET504 - it stays None if an exception is suppressed


def _enter(around: Around, job: CurrentJob) -> AnyContext:
    context = around.enter(job)
    # Not every caller has a type checker.
    if not isinstance(context, AbstractContextManager | AbstractAsyncContextManager):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(
            f"@belt.around: {around.where} must yield, or return a context manager, got {context!r}"
        )
    return context


class _Blocking:
    """An async context manager for blocking code: both its ends run in one event loop.

    They also run in one context, so that what the first sets the second can reset. The job's code
    gets the context variables that the first end has set.
    """

    def __init__(self, entered: AbstractAsyncContextManager[Any], runner: asyncio.Runner) -> None:
        self._entered = entered
        self._runner = runner
        self._context = contextvars.copy_context()

    def __enter__(self) -> None:
        self._runner.run(_await(self._entered.__aenter__()), context=self._context)
        for variable, value in self._context.items():
            if variable.get(_MISSING) is not value:
                variable.set(value)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        leaving = self._entered.__aexit__(kind, error, traceback)
        return bool(self._runner.run(_await(leaving), context=self._context))


_MISSING = object()


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
