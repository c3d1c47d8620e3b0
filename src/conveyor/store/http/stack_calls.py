"""The part of the HTTP store for dumps of what running jobs do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from ...core.pending import Pending
from ...core.stack import StackAnswer, StackDump, bounded_dump
from ..messages import Lease
from . import payloads


class StackCalls(ABC):
    """The methods of the HTTP store that request, make and show dumps."""

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

    def request_stack(self, job_id: str) -> Pending[None]:
        """Request a dump of a running job."""
        return self._call("request_stack", {"job_id": job_id})

    def stack_requests(self, worker: str) -> Pending[list[Lease]]:
        """Return the jobs of a worker of which a dump is requested."""
        return self._call("stack_requests", {"worker": worker})

    def put_stack(self, lease: Lease, dump: StackDump) -> Pending[bool]:
        """Store a requested dump."""
        body = payloads.PutStackBody(lease=lease, dump=bounded_dump(dump))
        return self._call("put_stack", body=body, decode=lambda answer: answer.stored)

    def stack(self, job_id: str) -> Pending[StackAnswer | None]:
        """Return the last request for a dump of a job, and the dump."""
        return self._call("stack", {"job_id": job_id})
