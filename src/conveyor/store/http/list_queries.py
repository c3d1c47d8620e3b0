"""The queries of lists: which entries, and where the page begins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...core.job import DETAILS, State
from ...errors import UsageError
from ..messages import Filter
from .payloads import MAX_ROWS, PAGE, Page, Payload, Rows


class FindQuery(Payload, frozen=True):
    """A filter for jobs. `states` and `include` are comma-separated lists; `before` is a `seq`.

    The jobs have only those of `args`, `result`, `options` and `stopping` that `include` names.
    """

    queue: str | None = None
    task: str | None = None
    states: str = ""
    before: int | None = None
    enqueued_before: float | None = None
    limit: Page = 100
    include: str = ""

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        which = Filter(
            queue=self.queue,
            task=self.task,
            states=frozenset(map(State, _named("state", self.states, State))),
            before=self.before,
            enqueued_before=self.enqueued_before,
        )
        include = _named("detail", self.include, sorted(DETAILS))
        return {"which": which, "limit": self.limit, "include": include}


class HistoryQuery(Payload, frozen=True):
    """At most `limit` entries whose `seq` is greater than `after`."""

    after: int = 0
    limit: Page = PAGE


class OutputQuery(Payload, frozen=True):
    """At most `limit` chunks whose `seq` is greater than `after`."""

    after: int = 0
    limit: Page = PAGE


class PageQuery(Payload, frozen=True):
    """At most `limit` entries after the id `after`."""

    after: str = ""
    limit: Page = PAGE


class ListQuery(Payload, frozen=True):
    """At most `limit` entries after the name or id `after`."""

    after: str = ""
    limit: Rows = MAX_ROWS


class BeforeQuery(Payload, frozen=True):
    """At most `limit` entries whose `seq` is less than `before`, newest first."""

    before: int | None = None
    limit: Page = PAGE


def _named(what: str, given: str, known: Iterable[str]) -> list[str]:
    """Return the names in a comma-separated list; UsageError for one that is not known."""
    named = [each for each in given.split(",") if each]
    names = list(known)
    unknown = sorted(set(named).difference(names))
    if unknown:
        raise UsageError(f"unknown {what} {unknown[0]!r}; the {what}s are {', '.join(names)}")
    return named
