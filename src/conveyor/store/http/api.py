"""The calls of the HTTP API, one row each: address, scopes, request and response.

A call has the name of the store's method that it carries. The client, the server's routes, the
rights of tokens and the OpenAPI document all come from this table.
"""

from __future__ import annotations

from ...core.access import Action, Token
from ...core.files import FileInfo
from ...core.job import (
    AttemptError,
    OutputChunk,
    QueueInfo,
    ScheduleInfo,
    TaskDefaults,
    WorkerInfo,
)
from ..messages import (
    Accepted,
    Content,
    Dismissed,
    Leader,
    Load,
    Offered,
    Order,
    Renewal,
    Staged,
)
from . import list_queries, payloads
from .api_call import (
    ADMIN_ONLY,
    AGENT,
    ANY,
    CURSOR_HEADER,
    CURSOR_SAFE,
    ENQUEUE,
    ENQUEUE_OR_AGENT,
    JSON,
    LARGE_BODY,
    MSGPACK,
    PREFIX,
    READ,
    READ_OR_ENQUEUE,
    ApiCall,
)
from .history_api import HISTORY_CALLS
from .inspection_api import INSPECTION_CALLS, INSPECTION_SERVER_CALLS
from .stack_api import STACK_CALLS
from .wire import ExchangedView, JobView, encode_exchanged, encode_job, encode_jobs

__all__ = [
    "CURSOR_HEADER",
    "CURSOR_SAFE",
    "HINTS",
    "JSON",
    "MSGPACK",
    "PREFIX",
    "SCALE",
    "SERVER_CALLS",
    "STORE_CALLS",
    "TERMS",
    "ApiCall",
]


def _encode_insert(answer: Accepted | Offered) -> payloads.InsertAnswer:
    if isinstance(answer, Accepted):
        return payloads.InsertAnswer(accepted=answer)
    return payloads.InsertAnswer(offered=answer)


_STORE_CALLS = (
    # -- producers -----------------------------------------------------------------------------
    ApiCall(
        name="insert", method="POST", path="/queues/{queue}/jobs", scopes=ENQUEUE,
        summary="Enqueue jobs, all or none", request=payloads.InsertBody, body_limit=LARGE_BODY,
        response=payloads.InsertAnswer, encode=_encode_insert, idempotent=True,
        problems=("encoding", "queue_full", "batch_too_large", "duplicate_id"),
    ),
    ApiCall(
        name="task_defaults", method="GET", path="/tasks/{task}", scopes=READ_OR_ENQUEUE,
        summary="Show what an application declares about a task", response=TaskDefaults | None,
        idempotent=True,
    ),
    ApiCall(
        name="accepted", method="POST", path="/offers/{offer}/collect", scopes=ENQUEUE,
        summary="Show whether an offer was accepted, and keep it alive",
        response=payloads.OfferAnswer, encode=payloads.OfferAnswer, idempotent=True,
        problems=("not_found",),
    ),
    ApiCall(
        name="withdraw", method="DELETE", path="/offers/{offer}", scopes=ENQUEUE,
        summary="Withdraw an offer", response=payloads.OfferAnswer, encode=payloads.OfferAnswer,
        idempotent=True, problems=("not_found",),
    ),
    # -- workers -------------------------------------------------------------------------------
    ApiCall(
        name="claim", method="POST", path="/workers/{worker}/claim", scopes=AGENT,
        summary="Claim jobs; can wait until there are some", request=payloads.ClaimBody,
        body_limit=LARGE_BODY,
        response=ExchangedView, encode=encode_exchanged,
    ),
    ApiCall(
        name="exchange", method="POST", path="/workers/{worker}/exchange", scopes=AGENT,
        summary="Report outcomes and claim jobs, in one transaction", request=payloads.ExchangeBody,
        body_limit=LARGE_BODY,
        response=ExchangedView, encode=encode_exchanged,
    ),
    ApiCall(
        name="decline", method="POST", path="/workers/{worker}/decline", scopes=AGENT,
        summary="End a waiting claim",
    ),
    ApiCall(
        name="settle", method="POST", path="/reports", scopes=AGENT,
        summary="Report outcomes", request=payloads.SettleBody, response=ExchangedView,
        body_limit=LARGE_BODY,
        encode=encode_exchanged,
    ),
    ApiCall(
        name="extend", method="POST", path="/leases/extend", scopes=AGENT,
        summary="Renew leases; the answer says for each job whether to continue",
        request=payloads.ExtendBody, body_limit=LARGE_BODY, response=list[Renewal],
    ),
    ApiCall(
        name="extend_worker", method="POST", path="/workers/{worker}/extend", scopes=AGENT,
        summary="Renew all leases of a worker", request=payloads.ExtendWorkerBody, response=int,
    ),
    ApiCall(
        name="write_output", method="POST", path="/output", scopes=AGENT,
        summary="Append captured output; the answer says for each job whether to continue",
        request=payloads.WriteOutputBody, accepts_msgpack=True, response=list[Renewal],
        body_limit=LARGE_BODY,
        idempotent=True,
    ),
    ApiCall(
        name="set_progress", method="POST", path="/progress", scopes=AGENT,
        summary="Set the progress of jobs; the answer says for each job whether to continue",
        request=payloads.SetProgressBody, body_limit=LARGE_BODY, response=list[Renewal],
    ),
    ApiCall(
        name="set_stopping", method="POST", path="/stopping", scopes=AGENT,
        summary="Record steps taken to stop jobs; the answer says for each job whether to continue",
        request=payloads.SetStoppingBody, body_limit=LARGE_BODY, response=list[Renewal],
    ),
    # -- operators -----------------------------------------------------------------------------
    ApiCall(
        name="get", method="GET", path="/jobs/{job_id}", scopes=READ_OR_ENQUEUE,
        summary="Show a job", response=JobView, encode=encode_job, idempotent=True,
        problems=("not_found",),
    ),
    ApiCall(
        name="find", method="GET", path="/jobs", scopes=READ,
        summary="List jobs, newest first", request=list_queries.FindQuery, response=list[JobView],
        encode=encode_jobs, idempotent=True, cursor="seq", is_search=True,
    ),
    ApiCall(
        name="history", method="GET", path="/jobs/{job_id}/history", scopes=READ_OR_ENQUEUE,
        summary="List the failed attempts of a job", request=list_queries.HistoryQuery,
        response=list[AttemptError], idempotent=True, problems=("not_found",), cursor="seq",
    ),
    ApiCall(
        name="output", method="GET", path="/jobs/{job_id}/output", scopes=READ_OR_ENQUEUE,
        summary="Read captured output", request=list_queries.OutputQuery,
        response=list[OutputChunk], idempotent=True, problems=("not_found",), cursor="seq",
    ),
    ApiCall(
        name="ahead", method="GET", path="/jobs/{job_id}/ahead", scopes=READ_OR_ENQUEUE,
        summary="Count the available jobs ahead of a job", response=int, idempotent=True,
        problems=("not_found",),
    ),
    ApiCall(
        name="offered", method="GET", path="/jobs/{job_id}/offered", scopes=READ_OR_ENQUEUE,
        summary="Show the queue in which a job waits for room", response=QueueInfo | None,
        idempotent=True,
    ),
    ApiCall(
        name="counts", method="GET", path="/queues", scopes=READ_OR_ENQUEUE,
        summary="List the queues", request=list_queries.ListQuery, response=list[QueueInfo],
        idempotent=True, cursor="name",
    ),
    ApiCall(
        name="queue_info", method="GET", path="/queues/{queue}", scopes=READ_OR_ENQUEUE,
        summary="Show a queue", response=QueueInfo, idempotent=True, problems=("not_found",),
    ),
    ApiCall(
        name="check", method="GET", path="/check", scopes=ADMIN_ONLY,
        summary="Check the integrity of the store; list what is wrong", response=list[str],
        idempotent=True,
    ),
    ApiCall(
        name="cancel", method="POST", path="/jobs/{job_id}/cancel", scopes=ENQUEUE,
        summary="Cancel a job; a running one is asked to stop", request=payloads.CancelBody,
        response=JobView, encode=encode_job, idempotent=True,
        problems=("not_found", "invalid_transition"), audit_name="cancel",
    ),
    ApiCall(
        name="retry", method="POST", path="/jobs/{job_id}/retry", scopes=ADMIN_ONLY,
        summary="Run a final job again", request=payloads.ReasonBody,
        response=JobView, encode=encode_job,
        problems=("not_found", "invalid_transition"), audit_name="retry",
    ),
    ApiCall(
        name="delete", method="DELETE", path="/jobs/{job_id}", scopes=ADMIN_ONLY,
        summary="Delete a final job", request=payloads.ReasonQuery,
        problems=("not_found", "invalid_transition"), audit_name="delete",
    ),
    ApiCall(
        name="set_paused", method="PUT", path="/queues/{queue}/paused", scopes=ADMIN_ONLY,
        summary="Pause or resume a queue", request=payloads.PauseBody, idempotent=True,
        audit_name="pause queue",
    ),
    # -- maintenance ---------------------------------------------------------------------------
    ApiCall(
        name="stage", method="POST", path="/upkeep/stage", scopes=ADMIN_ONLY,
        summary="Make due jobs available", request=payloads.LimitBody, response=Staged,
    ),
    ApiCall(
        name="rescue", method="POST", path="/upkeep/rescue", scopes=AGENT,
        summary="Return the jobs of dead workers, or those of expired leases, to their queues",
        request=payloads.RescueBody, body_limit=LARGE_BODY, response=list[str],
    ),
    ApiCall(
        name="prune", method="POST", path="/upkeep/prune", scopes=ADMIN_ONLY,
        summary="Delete old final jobs", request=payloads.PruneBody, response=int,
        audit_name="prune",
    ),
    ApiCall(
        name="beat", method="PUT", path="/workers/{worker}", scopes=AGENT,
        summary="Send a worker's heartbeat; the answer is its order", request=payloads.BeatBody,
        response=Order, idempotent=True,
    ),
    ApiCall(
        name="order", method="PUT", path="/workers/{worker}/order", scopes=AGENT,
        summary="Resume, quiet or drain a worker", request=payloads.OrderBody, response=bool,
        idempotent=True, problems=("not_found", "invalid_transition"), audit_name="order worker",
    ),
    ApiCall(
        name="dismiss", method="DELETE", path="/workers/{worker}", scopes=ADMIN_ONLY,
        summary="Remove a worker; a busy one only with force", request=payloads.DismissQuery,
        response=Dismissed, idempotent=True, problems=("not_found", "busy"),
        audit_name="remove worker",
    ),
    ApiCall(
        name="leave", method="POST", path="/workers/{worker}/leave", scopes=AGENT,
        summary="Delete the entry of a worker that has exited", idempotent=True,
    ),
    ApiCall(
        name="workers", method="GET", path="/workers", scopes=READ_OR_ENQUEUE,
        summary="List the workers", request=list_queries.ListQuery, response=list[WorkerInfo],
        idempotent=True, cursor="id",
    ),
    ApiCall(
        name="put_tasks", method="PUT", path="/tasks", scopes=ADMIN_ONLY,
        summary="Store what an application declares about its tasks",
        request=payloads.PutTasksBody, body_limit=LARGE_BODY, idempotent=True,
    ),
    ApiCall(
        name="put_schedule", method="PUT", path="/schedules/{name}", scopes=ADMIN_ONLY,
        summary="Add or change a schedule", request=payloads.PutScheduleBody, response=ScheduleInfo,
        idempotent=True,
    ),
    ApiCall(
        name="schedules", method="GET", path="/schedules", scopes=READ,
        summary="List the schedules", request=list_queries.ListQuery,
        response=list[ScheduleInfo], idempotent=True, cursor="name",
    ),
    ApiCall(
        name="pause_schedule", method="PUT", path="/schedules/{name}/paused", scopes=ADMIN_ONLY,
        summary="Pause or resume a schedule", request=payloads.PauseBody, idempotent=True,
        problems=("not_found",), audit_name="pause schedule",
    ),
    ApiCall(
        name="remove_schedule", method="DELETE", path="/schedules/{name}", scopes=ADMIN_ONLY,
        summary="Delete a schedule", request=payloads.ReasonQuery,
        problems=("not_found",), audit_name="remove schedule",
    ),
    ApiCall(
        name="tick", method="POST", path="/schedules/{name}/tick", scopes=ADMIN_ONLY,
        summary="Enqueue the jobs of a due schedule", request=payloads.TickBody, response=bool,
        body_limit=LARGE_BODY,
        problems=("not_found",), audit_name="tick schedule",
    ),
    # -- files ---------------------------------------------------------------------------------
    ApiCall(
        name="content", method="GET", path="/contents/{digest}", scopes=ENQUEUE_OR_AGENT,
        summary="Show how many bytes of a file are stored", response=Content, idempotent=True,
    ),
    ApiCall(
        name="write_content", method="PUT", path="/contents/{digest}", scopes=ENQUEUE_OR_AGENT,
        summary="Append a piece of a file, as bytes", request=payloads.PieceQuery, raw="request",
        response=Content, idempotent=True,
    ),
    ApiCall(
        name="read_content", method="GET", path="/contents/{digest}/bytes", scopes=ANY,
        summary="Read a piece of a file, as bytes", request=payloads.BytesQuery, raw="response",
        idempotent=True, problems=("not_found",),
    ),
    ApiCall(
        name="attach", method="POST", path="/jobs/{job_id}/artifacts", scopes=AGENT,
        summary="Record an artifact of a running job", request=payloads.AttachBody, response=bool,
        idempotent=True,
    ),
    ApiCall(
        name="files", method="GET", path="/jobs/{job_id}/files", scopes=READ_OR_ENQUEUE,
        summary="List the inputs and artifacts of a job", response=list[FileInfo], idempotent=True,
        problems=("not_found",),
    ),
    ApiCall(
        name="sweep_contents", method="POST", path="/upkeep/sweep", scopes=ADMIN_ONLY,
        summary="Delete files that no job refers to", request=payloads.LimitBody, response=int,
        audit_name="sweep files",
    ),
    # -- scaling -------------------------------------------------------------------------------
    ApiCall(
        name="load", method="GET", path="/load", scopes=READ_OR_ENQUEUE,
        summary="Count waiting and running jobs, by queue and required labels",
        request=payloads.LoadQuery, response=list[Load], idempotent=True,
    ),
    ApiCall(
        name="lead", method="PUT", path="/leaders/{name}", scopes=ADMIN_ONLY,
        summary="Take or renew the leadership, if it is free; show who leads",
        request=payloads.LeadBody, body_limit=LARGE_BODY, response=Leader, idempotent=True,
    ),
    ApiCall(
        name="leader", method="GET", path="/leaders/{name}", scopes=READ,
        summary="Show who leads, or led last", response=Leader | None, idempotent=True,
    ),
    # -- access --------------------------------------------------------------------------------
    ApiCall(
        name="tokens", method="GET", path="/tokens", scopes=ADMIN_ONLY,
        summary="List the tokens", request=list_queries.PageQuery, response=list[Token],
        idempotent=True, cursor="id",
    ),
    ApiCall(
        name="token", method="GET", path="/tokens/{token_id}", scopes=ADMIN_ONLY,
        summary="Show a token", response=Token, idempotent=True, problems=("not_found",),
    ),
    ApiCall(
        name="add_token", method="PUT", path="/tokens/{token_id}", scopes=ADMIN_ONLY,
        summary="Add a token, by the digest of its secret", request=payloads.AddTokenBody,
        audit_name="create token",
    ),
    ApiCall(
        name="revoke_token", method="DELETE", path="/tokens/{token_id}", scopes=ADMIN_ONLY,
        summary="Revoke a token", response=Token, idempotent=True, problems=("not_found",),
        audit_name="revoke token",
    ),
    ApiCall(
        name="actions", method="GET", path="/audit", scopes=ADMIN_ONLY,
        summary="List the audit log, newest first", request=list_queries.ActionsQuery,
        response=list[Action], idempotent=True, cursor="seq", is_search=True,
    ),
    ApiCall(
        name="note_action", method="POST", path="/audit", scopes=ADMIN_ONLY,
        summary="Append to the audit log", request=payloads.NoteActionBody, body_limit=LARGE_BODY,
    ),
)  # fmt: skip

STORE_CALLS = {
    call.name: call for call in (*_STORE_CALLS, *INSPECTION_CALLS, *STACK_CALLS, *HISTORY_CALLS)
}

TERMS = ApiCall(
    name="terms", method="GET", path="/server", scopes=ANY, response=payloads.ServerTerms,
    summary="Show the server's version, time and terms for agents", idempotent=True,
)  # fmt: skip
SCALE = ApiCall(
    name="scale", method="GET", path="/scale", scopes=READ, request=payloads.ScaleQuery,
    summary="Show the load for one kind of agent, for an external autoscaler",
    response=payloads.ScaleAnswer, idempotent=True,
)  # fmt: skip
METRICS = ApiCall(
    name="metrics", method="GET", path="/metrics", scopes=READ, request=payloads.MetricsQuery,
    summary="Show metrics for Prometheus", idempotent=True, problems=("not_installed",),
)  # fmt: skip
HINTS = ApiCall(
    name="hints", method="GET", path="/hints", scopes=ANY, request=payloads.HintsQuery,
    summary="Stream hints about changes, one JSON object per line", idempotent=True,
)  # fmt: skip

# Answered by the server itself, not by a method of the store.
SERVER_CALLS = (TERMS, SCALE, METRICS, HINTS, *INSPECTION_SERVER_CALLS)
