"""Requests and answers of the calls about many jobs at once: see inspection_api.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ...core.bulk import MOST_PER_STEP, PER_STEP, BulkAction
from ...core.explain_parts import SentencePart
from ...core.job import ScheduleInfo, State
from ..messages import Filter, Leader
from .list_queries import Text
from .payloads import Name, Payload, Reason, Seconds

SuggestKind = Literal["queue", "task", "worker", "label"]


class JobFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which jobs; what is left out means any. The fields are those of `GET /jobs`."""

    queue: str | None = None
    task: str | None = None
    states: frozenset[State] = frozenset()
    enqueued_before: float | None = None
    enqueued_after: float | None = None
    worker: str | None = None
    error: str | None = None
    text: Text | None = None

    def which(self, before: int | None = None) -> Filter:
        """Return the filter of the store."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        return Filter(before=before, **fields)

    @classmethod
    def of(cls, which: Filter) -> JobFilter:
        """Return the same filter, without its place in the list."""
        return cls(**{name: getattr(which, name) for name in cls.__struct_fields__})


class MatchBody(Payload, frozen=True):
    """A filter, and what would be done with its jobs."""

    filter: JobFilter
    action: BulkAction = "cancel"

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        return {"which": self.filter.which(), "action": self.action}


class ActBody(Payload, frozen=True):
    """One step of an action on the jobs of a filter, newest first.

    `upto` is that of `POST /bulk/match`. Send the `next` of the answer as `before` for the next
    step. `force` kills running jobs without their grace period when they are cancelled.
    """

    filter: JobFilter
    upto: Annotated[int, Meta(ge=0, le=2**63 - 2)]
    action: BulkAction
    reason: Reason = ""
    force: bool = False
    before: int | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_PER_STEP)] = PER_STEP

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        return {
            "which": self.filter.which(self.before),
            "upto": self.upto,
            "action": self.action,
            "reason": self.reason,
            "force": self.force,
            "limit": self.limit,
        }


class CopyBody(Payload, frozen=True):
    """What differs from the job that is copied: its arguments, its queue, its priority, its time.

    An argument that is masked, as `GET /jobs/{job_id}/args` shows it, is that of the original.
    """

    args: msgspec.Raw | UnsetType = UNSET
    queue: Name | None = None
    priority: int | None = None
    run_at: float | None = None
    delay: Seconds = 0.0


class Copied(msgspec.Struct, frozen=True):
    """The id of the new job."""

    id: str


class ArgsQuery(Payload, frozen=True):
    """With `whole`, also arguments of more than 64 KiB."""

    whole: bool = False


class JobArgs(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of a job without their secrets, and their size in bytes of JSON.

    `masked` are the JSON pointers (RFC 6901) of what is hidden. Large ones are `omitted`, and so
    are those that cannot be read.
    """

    args: Any
    masked: list[str]
    size: int
    omitted: bool = False


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What a job waits for, or how it ended: a sentence, and its parts, which together are it.

    `ahead` is how many available jobs of its queue come before it, if it is available itself.
    """

    text: str
    parts: list[SentencePart]
    ahead: int | None = None


class SearchQuery(Payload, frozen=True):
    """The text to search for, in chunks whose `seq` is greater than `after`."""

    text: Text
    after: int = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class FoundLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of output that has the text, at most 1,000 characters of it.

    `seq` is that of the chunk in which the line ends.
    """

    seq: int
    lease: int
    stream: str
    at: float
    text: str


class FoundLines(msgspec.Struct, frozen=True, kw_only=True):
    """Lines that were found. `next`: search on after this `seq`; null at the end of the output."""

    lines: list[FoundLine]
    next: int | None = None


class SuggestQuery(Payload, frozen=True):
    """Names of a kind that have the text in them; with `queue`, only those seen in that queue."""

    kind: SuggestKind
    text: Annotated[str, Meta(max_length=200)] = ""
    queue: str | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 10


class Suggested(msgspec.Struct, frozen=True):
    """The names, those that begin with the text first."""

    found: list[str]


class ScheduledJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job of a tick, and how it stands."""

    id: str
    state: State
    enqueued_at: float
    final_at: float | None = None


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule, its rule in words, its next ticks, and the jobs of its last ticks."""

    schedule: ScheduleInfo
    words: str
    next: list[float]
    outcomes: list[ScheduledJob]


class ScaledQuery(Payload, frozen=True):
    """The name of the autoscalers, from their configuration."""

    name: Name = "scaler"


class ScalerView(msgspec.Struct, frozen=True, kw_only=True):
    """Who leads the autoscalers, whether still, and what it last stored.

    `status` is that of `conveyor scale status --json`; null if no autoscaler has run.
    """

    leader: Leader | None = None
    is_current: bool = False
    status: Any = None


class CapacityBody(Payload, frozen=True):
    """The capacity of a queue, null for unbounded, and why it is changed."""

    capacity: Annotated[int, Meta(ge=0)] | None
    reason: Reason = ""

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        return {**path, "capacity": self.capacity}
