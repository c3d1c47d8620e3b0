"""The part of the store protocol for dumps of what running jobs do."""

from __future__ import annotations

from typing import Protocol

from ..core.pending import Pending
from ..core.stack import StackAnswer, StackDump
from .messages import Lease


class StackStore(Protocol):
    """An operator requests a dump, and the worker that runs the job makes it."""

    def request_stack(self, job_id: str) -> Pending[None]:
        """Request a dump of a running job, which replaces an older one.

        Its worker makes it within a second or so, if it is able to; `stack` returns it.
        NotFoundError for an unknown job, InvalidTransitionError for one that does not run.
        """
        ...

    def stack_requests(self, worker: str) -> Pending[list[Lease]]:
        """Return the jobs of a worker of which a dump is requested, at most 100, oldest first."""
        ...

    def put_stack(self, lease: Lease, dump: StackDump) -> Pending[bool]:
        """Store a requested dump, its texts cut; False if none is requested under this lease."""
        ...

    def stack(self, job_id: str) -> Pending[StackAnswer | None]:
        """Return the last request for a dump of a job, and the dump once it is there.

        None if there was none in the last hour. NotFoundError for an unknown job.
        """
        ...
