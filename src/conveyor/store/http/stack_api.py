"""The calls of the HTTP API for dumps of what running jobs do: one row each."""

from __future__ import annotations

from ...core.stack import StackAnswer
from ..messages import Lease
from . import payloads
from .api_call import ADMIN_ONLY, AGENT, READ, ApiCall

STACK_CALLS = (
    ApiCall(
        name="request_stack",
        method="POST",
        path="/jobs/{job_id}/stack",
        scopes=ADMIN_ONLY,
        summary="Request a dump of what a running job does; its worker makes it within a second",
        idempotent=True,
        problems=("not_found", "invalid_transition"),
        audit_name="stack",
    ),
    ApiCall(
        name="stack",
        method="GET",
        path="/jobs/{job_id}/stack",
        scopes=READ,
        summary="Show the last dump of what a running job does",
        response=StackAnswer | None,
        idempotent=True,
        problems=("not_found",),
    ),
    ApiCall(
        name="stack_requests",
        method="GET",
        path="/workers/{worker}/stacks",
        scopes=AGENT,
        summary="List the jobs of a worker of which a dump is requested",
        response=list[Lease],
        idempotent=True,
    ),
    ApiCall(
        name="put_stack",
        method="POST",
        path="/stacks",
        scopes=AGENT,
        summary="Store a requested dump",
        request=payloads.PutStackBody,
        response=payloads.StackStored,
        encode=payloads.StackStored,
        idempotent=True,
    ),
)
