"""What an application wraps around each of its jobs: a context manager, sync or async."""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from .job_context import CurrentJob

AnyContext = AbstractContextManager[Any] | AbstractAsyncContextManager[Any]
# What @belt.around takes: a generator function, or a function that returns a context manager.
AroundFunction = Callable[
    [CurrentJob],
    Iterator[Any] | AsyncIterator[Any] | AnyContext,
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """A context manager around each job. `where` is "module:qualname", to import it elsewhere."""

    enter: Callable[[CurrentJob], AnyContext]
    where: str


def make_around(function: object) -> Around:
    """Describe what wraps each job: a generator function, or one that returns a context manager."""
    if not callable(function):
        raise UsageError(f"@belt.around needs a function that takes the job, got {function!r}")
    try:
        inspect.signature(function).bind(None)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{function!r} must take one argument, the current job, to be used with @belt.around: "
            f"{error}"
        ) from error
    enter: Any = function
    if inspect.isgeneratorfunction(function):
        enter = contextmanager(function)
    elif inspect.isasyncgenfunction(function):
        enter = asynccontextmanager(function)
    elif inspect.iscoroutinefunction(function):
        raise UsageError(
            f"{function!r} is a coroutine function without a yield, so it cannot wrap a job: "
            "write `yield` where the job runs"
        )
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    return Around(enter=enter, where=f"{module}:{name}" if module and name else "")


def check_importable(around: Around) -> None:
    """Raise UsageError for what another process could not import by its name."""
    module, _, path = around.where.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise UsageError(
            f"@belt.around: {around.where or around.enter!r} wraps jobs that run in processes, "
            "too, and those cannot import it: define it at the top level of a module"
        )
