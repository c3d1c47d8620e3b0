"""`belt.on(...)` and `@belt.around`: what an application hooks into its workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from ..core.around import AroundFunction
from ..core.events import Event
from ..core.hooks import Hooks

E = TypeVar("E", bound=Event)
E2 = TypeVar("E2", bound=Event)
E3 = TypeVar("E3", bound=Event)
R = TypeVar("R")
F = TypeVar("F", bound=AroundFunction)


class EventSubscriber:
    """`belt.on(JobDiscarded, handler)` or `@belt.on(JobDiscarded)`."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    @overload
    def __call__(self, events: type[E], handler: Callable[[E], object], /) -> None: ...
    @overload
    def __call__(
        self, events: tuple[type[E], type[E2]], handler: Callable[[E | E2], object], /
    ) -> None: ...
    @overload
    def __call__(
        self,
        events: tuple[type[E], type[E2], type[E3]],
        handler: Callable[[E | E2 | E3], object],
        /,
    ) -> None: ...
    @overload
    def __call__(self, events: tuple[type[E], ...], handler: Callable[[E], object], /) -> None: ...
    @overload
    def __call__(self, events: type[E], /) -> Callable[[Callable[[E], R]], Callable[[E], R]]: ...
    @overload
    def __call__(
        self, events: tuple[type[E], type[E2]], /
    ) -> Callable[[Callable[[E | E2], R]], Callable[[E | E2], R]]: ...
    @overload
    def __call__(
        self, events: tuple[type[E], type[E2], type[E3]], /
    ) -> Callable[[Callable[[E | E2 | E3], R]], Callable[[E | E2 | E3], R]]: ...
    @overload
    def __call__(
        self, events: tuple[type[E], ...], /
    ) -> Callable[[Callable[[E], R]], Callable[[E], R]]: ...
    def __call__(self, events: Any, handler: Any = None, /) -> Any:
        """Call `handler` in the worker process for each event of a class, or of one of several.

        A class stands for those derived from it, too: `belt.on(Event, log)` gets all. The handler,
        sync or async, runs in a thread of its own, with an event loop of its own, after the store
        has accepted what the event says. One that raises, blocks or is slow delays no job: at most
        10,000 events wait, and the others are dropped and counted in the log. An async one is
        cancelled after 30 s. A worker that exits waits at most 2 s for its handlers. UsageError for
        what is no event class, or cannot be called.
        """
        if handler is not None:
            self._hooks.subscribe(events, handler)
            return None

        def decorate(function: Callable[[Any], R]) -> Callable[[Any], R]:
            self._hooks.subscribe(events, function)
            return function

        return decorate


class AroundDecorator:
    """`@belt.around` above a generator function or one that returns a context manager."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    def __call__(self, function: F, /) -> F:
        """Run every job of Python code inside a context manager, the first declared outermost.

        The function takes the `CurrentJob`, and yields once where the job runs, or returns a
        context manager; both may be async. It runs where the job runs: in the event loop, in the
        job's thread, or in its child process, which imports it by its name. Around blocking code,
        an async one has an event loop of its own. What it raises fails the attempt, and the job's
        exceptions pass through it. Commands are not wrapped. UsageError for a function that cannot
        wrap a job.
        """
        self._hooks.add_around(function)
        return function
