"""The calls of the HTTP API for dashboards, and for actions on many jobs: one row each."""

from __future__ import annotations

from ...core.attempts import Attempt
from ...core.failures import Failure, Failures
from ..messages import Acted, JobCounts, Matched
from . import inspection_payloads as payloads
from . import list_queries
from .api_call import ADMIN_ONLY, ENQUEUE, LARGE_BODY, READ, READ_OR_ENQUEUE, ApiCall
from .payloads import ReasonBody

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
        summary="Make a schedule due now", request=ReasonBody, idempotent=True,
        problems=("not_found", "invalid_transition"), audit_name="run schedule",
    ),
    ApiCall(
        name="recent_jobs", method="GET", path="/schedules/{name}/jobs", scopes=READ,
        summary="List the ids of the jobs of the last ticks of a schedule", response=list[str],
        idempotent=True, problems=("not_found",),
    ),
)  # fmt: skip

# Answered by the server itself, not by a method of the store.
INSPECTION_SERVER_CALLS = (
    ApiCall(
        name="why", method="GET", path="/jobs/{job_id}/why", scopes=READ_OR_ENQUEUE,
        summary="Explain the state of a job, in a sentence and its parts",
        response=payloads.Explanation, idempotent=True, problems=("not_found",),
    ),
    ApiCall(
        name="job_args", method="GET", path="/jobs/{job_id}/args", scopes=READ_OR_ENQUEUE,
        summary="Show the arguments of a job without their secrets", request=payloads.ArgsQuery,
        response=payloads.JobArgs, idempotent=True, problems=("not_found",),
    ),
    ApiCall(
        name="copy_job", method="POST", path="/jobs/{job_id}/copy", scopes=ENQUEUE,
        summary="Enqueue a job like another one, with other arguments if given",
        request=payloads.CopyBody, response=payloads.Copied, body_limit=LARGE_BODY,
        problems=("not_found", "encoding", "queue_full"), audit_name="copy",
    ),
    ApiCall(
        name="search_output", method="GET", path="/jobs/{job_id}/output/search",
        scopes=READ_OR_ENQUEUE, summary="Search the captured output of a job",
        request=payloads.SearchQuery, response=payloads.FoundLines, idempotent=True,
        problems=("not_found",),
    ),
    ApiCall(
        name="schedule_outlook", method="GET", path="/schedules/{name}/outlook", scopes=READ,
        summary="Show a schedule in words, its next ticks and its last jobs",
        response=payloads.Outlook, idempotent=True, problems=("not_found",),
    ),
    ApiCall(
        name="scaler", method="GET", path="/scaler", scopes=READ,
        summary="Show what the autoscaler last decided", request=payloads.ScaledQuery,
        response=payloads.ScalerView, idempotent=True,
    ),
    ApiCall(
        name="suggest", method="GET", path="/suggest", scopes=READ,
        summary="Suggest names of queues, tasks, workers or labels",
        request=payloads.SuggestQuery, response=payloads.Suggested, idempotent=True,
    ),
)  # fmt: skip
