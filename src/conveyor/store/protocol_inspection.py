"""The part of the store protocol for those who look at many jobs, and change many at once."""

from __future__ import annotations

from typing import Protocol

from ..core.attempts import Attempt
from ..core.bulk import PER_STEP, BulkAction
from ..core.failures import Failure, Failures
from ..core.job import HISTORY
from ..core.page import Page
from ..core.pending import Pending
from .messages import Acted, Filter, JobCounts, Matched


class InspectionStore(Protocol):
    """For dashboards, and for actions on all jobs of a filter. Every call is bounded."""

    def attempts(
        self, job_id: str, *, after: int = 0, limit: int = HISTORY
    ) -> Pending[Page[Attempt]]:
        """Return the attempts of a job, oldest first: at most `limit`, after that `seq`.

        Of those that did not succeed the newest 1,000 are kept. The last one, if it runs or
        succeeded, is on the last page with `seq` 0.
        """
        ...

    def job_counts(self, which: Filter) -> Pending[JobCounts]:
        """Return how many jobs match, by state and by queue; see `JobCounts` for the limits."""
        ...

    def match(self, which: Filter, action: BulkAction) -> Pending[Matched]:
        """Return how many jobs an action on all of a filter would change.

        UsageError if the filter names only states that the action cannot change.
        """
        ...

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
        """Cancel, retry or delete at most `limit` jobs of a filter, newest first: one step.

        `upto` is that of `match`: later jobs are left alone. The next step begins at `which.before`
        = `next` of this one. `limit` is at most 1,000. Several steps are not one transaction: jobs
        may change between them. `force` is that of `cancel`.
        """
        ...

    def failures(
        self, *, queue: str | None = None, task: str | None = None, limit: int = 100
    ) -> Pending[Failures]:
        """Return groups of failures that are alike, among the newest 10,000 failed attempts.

        With `queue` or `task`, only those among them that are of these are counted.
        """
        ...

    def failure(self, fingerprint: str, *, queue: str | None = None) -> Pending[Failure]:
        """Return one group; NotFoundError if none of the newest 10,000 failures is of it."""
        ...

    def set_capacity(self, queue: str, capacity: int | None, *, reason: str = "") -> Pending[None]:
        """Change the capacity of a queue, None for unbounded; jobs beyond it stay.

        NotFoundError if the queue was never used. An application that declares a capacity sets it
        again when it enqueues next. `reason` is that of `retry`.
        """
        ...
