"""Requests and answers of the calls about many jobs at once: see inspection_api.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ...core.bulk import MOST_PER_STEP, PER_STEP, BulkAction
from ...core.job import State
from ..messages import Filter
from .list_queries import Text
from .payloads import Payload, Reason


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

    def described(self) -> str:
        """Return the filter for people, like "queue=mail states=discarded"."""
        given = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return " ".join(
            f"{name}={','.join(sorted(value)) if name == 'states' else value}"
            for name, value in given
            if value not in (None, frozenset())
        )


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


class CapacityBody(Payload, frozen=True):
    """The capacity of a queue, null for unbounded, and why it is changed."""

    capacity: Annotated[int, Meta(ge=0)] | None
    reason: Reason = ""

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        return {**path, "capacity": self.capacity}


class RunScheduleBody(Payload, frozen=True):
    """Why the schedule runs now."""

    reason: Reason = ""

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        return dict(path)
