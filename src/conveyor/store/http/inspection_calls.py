"""The part of the HTTP store for those who look at many jobs, and change many at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ...core import bounds
from ...core.access import EVERY_ACTION, Action, ActionFilter
from ...core.attempts import Attempt
from ...core.bulk import PER_STEP, BulkAction
from ...core.failures import Failure, Failures
from ...core.job import HISTORY, AttemptError, Detail, JobRecord, OutputChunk
from ...core.page import Page
from ...core.pending import Pending
from ..messages import Acted, Filter, JobCounts, Matched
from . import inspection_payloads, list_queries, payloads
from .inspection_payloads import JobFilter
from .wire import decode_jobs


class InspectionCalls(ABC):
    """The methods of the HTTP store that list and count, and that act on filters."""

    @abstractmethod
    def _call(
        self,
        name: str,
        path: Mapping[str, str] | None = None,
        body: payloads.Payload | None = None,
        *,
        data: bytes | None = None,
        decode: Callable[[Any], Any] = lambda answer: answer,
    ) -> Pending[Any]:
        """Make one call."""

    def find(
        self, which: Filter, *, limit: int, include: Collection[Detail] = ()
    ) -> Pending[Page[JobRecord]]:
        """Return one page of jobs."""
        body = list_queries.FindQuery(
            **list_queries.filter_fields(which),
            order="oldest" if which.oldest_first else "newest",
            limit=limit,
            include=",".join(sorted(include)),
        )
        return self._call("find", body=body, decode=decode_jobs)

    def history(
        self, job_id: str, *, after: int = 0, limit: int = HISTORY
    ) -> Pending[Page[AttemptError]]:
        """Return one page of the attempts of a job that did not succeed."""
        body = list_queries.HistoryQuery(after=after, limit=limit)
        return self._call("history", {"job_id": job_id}, body)

    def attempts(
        self, job_id: str, *, after: int = 0, limit: int = HISTORY
    ) -> Pending[Page[Attempt]]:
        """Return one page of the attempts of a job."""
        body = list_queries.HistoryQuery(after=after, limit=limit)
        return self._call("attempts", {"job_id": job_id}, body)

    def output(
        self, job_id: str, *, after: int = 0, before: int | None = None, limit: int
    ) -> Pending[Page[OutputChunk]]:
        """Return one page of a job's captured output."""
        body = list_queries.OutputQuery(after=after, before=before, limit=limit)
        return self._call("output", {"job_id": job_id}, body)

    def job_counts(self, which: Filter) -> Pending[JobCounts]:
        """Count the jobs of a filter."""
        body = list_queries.CountQuery(**list_queries.filter_fields(which))
        return self._call("job_counts", body=body)

    def match(self, which: Filter, action: BulkAction) -> Pending[Matched]:
        """Count the jobs that an action on a filter would change."""
        body = inspection_payloads.MatchBody(filter=JobFilter.of(which), action=action)
        return self._call("match", body=body)

    def act(
        self,
        which: Filter,
        *,
        upto: int,
        action: BulkAction,
        reason: str,
        force: bool = False,
        limit: int = PER_STEP,
    ) -> Pending[Acted]:
        """Change some jobs of a filter."""
        body = inspection_payloads.ActBody(
            filter=JobFilter.of(which),
            upto=upto,
            action=action,
            reason=bounds.cut("reason", reason),
            force=force,
            before=which.before,
            limit=limit,
        )
        return self._call("act", body=body)

    def failures(
        self, *, queue: str | None = None, task: str | None = None, limit: int = 100
    ) -> Pending[Failures]:
        """Return groups of failures that are alike."""
        body = list_queries.FailuresQuery(queue=queue, task=task, limit=limit)
        return self._call("failures", body=body)

    def failure(self, fingerprint: str, *, queue: str | None = None) -> Pending[Failure]:
        """Return one group of failures."""
        body = list_queries.FailureQuery(queue=queue)
        return self._call("failure", {"fingerprint": fingerprint}, body)

    def set_paused(
        self, queue: str, *, paused: bool, reason: str = "", by: str = ""
    ) -> Pending[None]:
        """Pause or resume a queue; the server knows by whom."""
        body = payloads.PauseBody(paused=paused, reason=bounds.cut("reason", reason))
        return self._call("set_paused", {"queue": queue}, body)

    def set_capacity(self, queue: str, capacity: int | None, *, reason: str = "") -> Pending[None]:
        """Change the capacity of a queue."""
        body = inspection_payloads.CapacityBody(
            capacity=capacity, reason=bounds.cut("reason", reason)
        )
        return self._call("set_capacity", {"queue": queue}, body)

    def pause_schedule(
        self, name: str, *, paused: bool, reason: str = "", by: str = ""
    ) -> Pending[None]:
        """Pause or resume a schedule; the server knows by whom."""
        body = payloads.PauseBody(paused=paused, reason=bounds.cut("reason", reason))
        return self._call("pause_schedule", {"name": name}, body)

    def run_schedule(self, name: str, *, reason: str = "") -> Pending[None]:
        """Make a schedule due now."""
        body = payloads.ReasonBody(reason=bounds.cut("reason", reason))
        return self._call("run_schedule", {"name": name}, body)

    def recent_jobs(self, name: str) -> Pending[list[str]]:
        """Return the ids of the jobs of a schedule's last ticks."""
        return self._call("recent_jobs", {"name": name})

    def actions(
        self, *, before: int | None = None, limit: int, which: ActionFilter = EVERY_ACTION
    ) -> Pending[Page[Action]]:
        """Return one page of the audit log."""
        body = list_queries.ActionsQuery(
            before=before,
            limit=limit,
            who=which.who,
            what=which.what,
            subject=which.subject,
            since=which.since,
            until=which.until,
        )
        return self._call("actions", body=body)
