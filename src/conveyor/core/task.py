"""A task: a named function, how it runs, and the default options of its jobs."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import UsageError
from .around import Around
from .class_names import module_name
from .codec import ArgsCodec, ResultCodec
from .job import COMMAND_TASK, NO_OPTIONS, Callback, Options, TaskDefaults
from .key_template import KeyTemplate

# How many known tasks an error lists.
NAMED = 10

Kind = Literal["coroutine", "thread", "process", "command"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A registered function. `where` is "module:qualname", from which other processes import it."""

    name: str
    kind: Kind
    function: Callable[..., Any]
    where: str
    args: ArgsCodec
    results: ResultCodec
    options: Options = NO_OPTIONS
    priority: int = 0
    queue: str = "default"
    callbacks: tuple[Callback, ...] = ()
    key: KeyTemplate | None = None
    # Those of its application; more may be added until a worker starts.
    arounds: Sequence[Around] = field(default=(), compare=False)

    @property
    def defaults(self) -> TaskDefaults:
        """What its declaration says about its jobs."""
        return TaskDefaults(
            name=self.name,
            queue=self.queue,
            priority=self.priority,
            options=self.options,
            callbacks=self.callbacks,
            key=self.key,
        )


def task(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    run: Kind | None = None,
    options: Options = NO_OPTIONS,
    priority: int = 0,
    queue: str = "default",
    callbacks: tuple[Callback, ...] = (),
) -> Task:
    """Describe a function as a task. UsageError if it has no name or cannot run as `run` says."""
    named = hasattr(function, "__module__") and hasattr(function, "__qualname__")
    if not callable(function) or not named:
        raise UsageError(
            f"a task needs a function that has a name, got {function!r}: wrap it in a `def`"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise UsageError(
            f"{function.__qualname__} is a generator, whose body a job would not run: "
            "remove the yield, and return a list or report progress"
        )
    return Task(
        name=name or default_name(function),
        kind=kind_of(function, run=run, timeout=options.timeout),
        function=function,
        where=f"{function.__module__}:{function.__qualname__}",
        args=ArgsCodec(function),
        results=ResultCodec(function),
        options=options,
        priority=priority,
        queue=queue,
        callbacks=callbacks,
    )


def kind_of(function: Callable[..., Any], *, run: Kind | None, timeout: float | None) -> Kind:
    """Return how a function runs; UsageError if `run` does not suit it.

    A blocking function with a timeout runs in a process, because a thread cannot be stopped.
    """
    is_async = inspect.iscoroutinefunction(function)
    match run:
        case None if is_async:
            return "coroutine"
        case None:
            return "thread" if timeout is None else "process"
        case "coroutine" if not is_async:
            raise UsageError(f"{function.__qualname__}: run='coroutine' needs an `async def`")
        case "thread" if is_async:
            raise UsageError(f"{function.__qualname__}: an `async def` cannot run='thread'")
        case "thread" if timeout is not None:
            raise UsageError(
                f"{function.__qualname__}: run='thread' cannot have a timeout, because a "
                "thread cannot be stopped; leave out `run` to get a process"
            )
        case "coroutine" | "thread" | "process":
            return run
        case _:
            raise UsageError(f"run must be 'coroutine', 'thread' or 'process', got {run!r}")


def unknown_name(name: str, known: Collection[str]) -> str:
    """Return the message for a task of a name that is not known, with the names that are near."""
    near = difflib.get_close_matches(name, known, 3) or sorted(known)[:NAMED]
    return f"there is no task {name!r}; known tasks: {', '.join(near) or 'none'}"


def default_name(function: Callable[..., Any]) -> str:
    """Return "module.qualname", with the name of the script in place of `__main__`."""
    return f"{module_name(function.__module__)}.{function.__qualname__}"


__all__ = ["COMMAND_TASK", "Kind", "Task", "default_name", "kind_of", "task"]
