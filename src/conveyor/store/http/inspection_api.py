"""The calls of the HTTP API for dashboards, and for actions on many jobs: one row each."""

from __future__ import annotations

from ...core.attempts import Attempt
from ...core.failures import Failure, Failures
from ..messages import Acted, JobCounts, Matched
from . import inspection_payloads as payloads
from . import list_queries
from .api_call import ADMIN_ONLY, ENQUEUE, READ, READ_OR_ENQUEUE, ApiCall

INSPECTION_CALLS = (
    ApiCall(
        name="attempts", method="GET", path="/jobs/{job_id}/attempts", scopes=READ_OR_ENQUEUE,
        summary="List the attempts of a job, oldest first", request=list_queries.HistoryQuery,
        response=list[Attempt], idempotent=True, problems=("not_found",), cursor="seq",
    ),
    ApiCall(
        name="job_counts", method="GET", path="/bulk/counts", scopes=READ,
        summary="Count jobs by state", request=list_queries.CountQuery, response=JobCounts,
        idempotent=True,
    ),
    ApiCall(
        name="match", method="POST", path="/bulk/match", scopes=READ,
        summary="Count the jobs that an action on a filter would change",
        request=payloads.MatchBody, response=Matched, idempotent=True,
    ),
    ApiCall(
        name="act", method="POST", path="/bulk/act", scopes=ENQUEUE,
        summary="Cancel, retry or delete some jobs of a filter: one step",
        request=payloads.ActBody, response=Acted, audit_name="act",
    ),
    ApiCall(
        name="failures", method="GET", path="/failures", scopes=READ,
        summary="List groups of failures that are alike, among the newest 10,000 failed attempts",
        request=list_queries.FailuresQuery, response=Failures, idempotent=True,
    ),
    ApiCall(
        name="failure", method="GET", path="/failures/{fingerprint}", scopes=READ,
        summary="Show a group of failures that are alike", request=list_queries.FailureQuery,
        response=Failure, idempotent=True, problems=("not_found",),
    ),
    ApiCall(
        name="set_capacity", method="PUT", path="/queues/{queue}/capacity", scopes=ADMIN_ONLY,
        summary="Change the capacity of a queue", request=payloads.CapacityBody, idempotent=True,
        problems=("not_found",), audit_name="set capacity",
    ),
    ApiCall(
        name="run_schedule", method="POST", path="/schedules/{name}/run", scopes=ADMIN_ONLY,
        summary="Make a schedule due now", request=payloads.RunScheduleBody, idempotent=True,
        problems=("not_found", "invalid_transition"), audit_name="run schedule",
    ),
)  # fmt: skip

# Answered by the server itself, not by a method of the store.
INSPECTION_SERVER_CALLS: tuple[ApiCall, ...] = ()
