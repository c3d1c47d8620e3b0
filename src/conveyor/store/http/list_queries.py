"""The queries of lists: which entries, and where the page begins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from ...core.access import ActionFilter
from ...core.job import DETAILS, State
from ...errors import UsageError
from ..messages import Filter
from .payloads import MAX_ROWS, PAGE, Page, Payload, Rows

# A part of arguments, see LONGEST_TEXT in bulk_rules.py.
Text = Annotated[str, Meta(min_length=1, max_length=200)]
Order = Literal["newest", "oldest"]
SUMMARY = "summary"


class CountQuery(Payload, frozen=True):
    """A filter for jobs. `states` is a comma-separated list; `before` and `after` are a `seq`.

    `worker` runs a job or has run it last. `error` is a fingerprint, as `GET /failures` lists them:
    the newest failed attempt of a job has it. `text` is a part of the arguments as they are in
    JSON; arguments of more than 64 KiB are not searched. A token with only `read` may not use it.
    """

    queue: str | None = None
    task: str | None = None
    states: str = ""
    before: int | None = None
    enqueued_before: float | None = None
    enqueued_after: float | None = None
    worker: str | None = None
    error: str | None = None
    text: Text | None = None
    after: int | None = None

    def which(self, *, oldest_first: bool = False) -> Filter:
        """Return the filter of the store."""
        return Filter(
            queue=self.queue,
            task=self.task,
            states=frozenset(map(State, _named("state", self.states, State))),
            before=self.before,
            enqueued_before=self.enqueued_before,
            enqueued_after=self.enqueued_after,
            worker=self.worker,
            error=self.error,
            text=self.text,
            after=self.after,
            oldest_first=oldest_first,
        )

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        return {"which": self.which()}


class FindQuery(CountQuery, frozen=True):
    """A filter for jobs, the newest first, or the oldest with `order=oldest`.

    The jobs have only those of `args`, `result`, `options` and `stopping` that `include` names, and
    a `summary` of their arguments, in one line without secrets, if it names that.
    """

    order: Order = "newest"
    limit: Page = 100
    include: str = ""

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        named = _named("detail", self.include, [*sorted(DETAILS), SUMMARY])
        include = {"args" if name == SUMMARY else name for name in named}
        which = self.which(oldest_first=self.order == "oldest")
        return {"which": which, "limit": self.limit, "include": include}

    @property
    def has_summary(self) -> bool:
        """Whether a summary of the arguments is asked for."""
        return SUMMARY in self.include.split(",")

    @property
    def has_args(self) -> bool:
        """Whether the arguments themselves are asked for."""
        return "args" in self.include.split(",")


def filter_fields(which: Filter) -> dict[str, Any]:
    """Return the fields of a query for a filter, without its order."""
    return {
        **{name: getattr(which, name) for name in CountQuery.__struct_fields__},
        "states": ",".join(sorted(which.states)),
    }


class FailuresQuery(Payload, frozen=True):
    """At most `limit` groups, of the attempts of one queue or task."""

    queue: str | None = None
    task: str | None = None
    limit: Page = 100


class FailureQuery(Payload, frozen=True):
    """Of the attempts of one queue."""

    queue: str | None = None


class HistoryQuery(Payload, frozen=True):
    """At most `limit` entries whose `seq` is greater than `after`."""

    after: int = 0
    limit: Page = PAGE


class OutputQuery(Payload, frozen=True):
    """At most `limit` chunks whose `seq` is greater than `after`.

    With `before`, the last ones whose `seq` is less, oldest first; 0 means the end.
    """

    after: int = 0
    before: int | None = None
    limit: Page = PAGE


class BeforeQuery(Payload, frozen=True):
    """At most `limit` entries whose `seq` is less than `before`, newest first."""

    before: int | None = None
    limit: Page = PAGE


class PageQuery(Payload, frozen=True):
    """At most `limit` entries after the id `after`."""

    after: str = ""
    limit: Page = PAGE


class ListQuery(Payload, frozen=True):
    """At most `limit` entries after the name or id `after`."""

    after: str = ""
    limit: Rows = MAX_ROWS


class ActionsQuery(Payload, frozen=True):
    """At most `limit` entries whose `seq` is less than `before`, newest first.

    Only those by `who`, of the action `what`, about the `subject`, and from `since` on and before
    `until`, in Unix seconds.
    """

    before: int | None = None
    limit: Page = PAGE
    who: str | None = None
    what: str | None = None
    subject: str | None = None
    since: float | None = None
    until: float | None = None

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        which = ActionFilter(
            who=self.who, what=self.what, subject=self.subject, since=self.since, until=self.until
        )
        return {"before": self.before, "limit": self.limit, "which": which}


def _named(what: str, given: str, known: Iterable[str]) -> list[str]:
    """Return the names in a comma-separated list; UsageError for one that is not known."""
    named = [each for each in given.split(",") if each]
    names = list(known)
    unknown = sorted(set(named).difference(names))
    if unknown:
        raise UsageError(f"unknown {what} {unknown[0]!r}; the {what}s are {', '.join(names)}")
    return named
