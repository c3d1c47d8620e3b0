"""What an application hooks into its workers: handlers of events, and what wraps each job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from ..errors import UsageError
from .around import Around, make_around
from .events import Event

Handler = Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class Subscription:
    """A handler, and the classes of the events that it gets."""

    kinds: tuple[type[Event], ...]
    handler: Handler


class Hooks:
    """The handlers and the arounds of one application, in the order in which they were added."""

    def __init__(self) -> None:
        self.subscriptions: list[Subscription] = []
        self.arounds: list[Around] = []

    def subscribe(self, kinds: object, handler: object) -> None:
        """Call `handler` with each event of these classes; UsageError if that makes no sense."""
        if not callable(handler):
            raise UsageError(f"a handler of events must be callable, got {handler!r}")
        self.subscriptions.append(Subscription(event_kinds(kinds), handler))

    def add_around(self, function: object) -> None:
        """Wrap each job of Python code in a context manager; UsageError if it cannot be one."""
        self.arounds.append(make_around(function))


def event_kinds(kinds: object) -> tuple[type[Event], ...]:
    """Return one event class or several as a tuple; UsageError if they are none."""
    listed = cast("tuple[Any, ...]", kinds if isinstance(kinds, tuple | list) else (kinds,))
    if not listed or not all(isinstance(each, type) and issubclass(each, Event) for each in listed):
        raise UsageError(
            f"name event classes, like JobDiscarded or (JobRetrying, JobDiscarded), got {kinds!r}"
        )
    return tuple(listed)
