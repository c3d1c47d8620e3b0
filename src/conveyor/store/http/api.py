"""The calls of the HTTP API, one row each: where, for whom, what it takes and what it gives.

A call is named as the store's method that it carries. The client, the server's routes, what a token
may do and the OpenAPI document all come from this table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from ...core.access import Action, Scope, Token
from ...core.files import FileInfo
from ...core.job import AttemptError, OutputChunk, QueueInfo, ScheduleInfo, WorkerInfo
from ..messages import Accepted, Content, Dismissed, Leader, Load, Offered, Order, Renewal, Staged
from . import payloads
from .payloads import Body, Nothing
from .wire import ExchangedView, JobView, exchanged_view, job_view

PREFIX = "/api/v1"
JSON = "application/json"
PACKED = "application/vnd.msgpack"

Method = Literal["GET", "POST", "PUT", "DELETE"]

ENQUEUE: tuple[Scope, ...] = ("enqueue",)
READ: tuple[Scope, ...] = ("read",)
LOOK: tuple[Scope, ...] = ("read", "enqueue")
AGENT: tuple[Scope, ...] = ("agent",)
ADMIN: tuple[Scope, ...] = ()
CONTENTS: tuple[Scope, ...] = ("enqueue", "agent")
ANY: tuple[Scope, ...] = ("enqueue", "read", "agent")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call. `scopes` are those that may make it; "admin" may make every one.

    A call is `raw` where bytes go one way in place of JSON: those that it "takes", the rest of it
    then being in the query, or those that it "gives". One that is `packed` takes MessagePack as
    well as JSON, which would carry bytes as a text a third longer.

    `repeats` says that making it twice does no harm, so that a lost answer is asked for again.
    `refusals` are the codes of its own errors; see problems.py. `audited` is what the audit log
    calls it.
    """

    name: str
    method: Method
    path: str
    scopes: tuple[Scope, ...]
    summary: str
    takes: type[Body] = Nothing
    gives: Any = None
    view: Callable[[Any], Any] | None = None
    repeats: bool = False
    raw: Literal["", "takes", "gives"] = ""
    packed: bool = False
    refusals: tuple[str, ...] = ()

    @property
    def in_query(self) -> bool:
        """Whether what it takes stands in the query."""
        return self.method in ("GET", "DELETE") or self.raw == "takes"

    audited: str = ""


def _jobs(jobs: Sequence[Any]) -> list[JobView]:
    return list(map(job_view, jobs))


def _insert(answer: Accepted | Offered) -> payloads.InsertAnswer:
    if isinstance(answer, Accepted):
        return payloads.InsertAnswer(accepted=answer)
    return payloads.InsertAnswer(offered=answer)


_ROWS = (
    # -- producers -----------------------------------------------------------------------------
    Call(
        name="insert", method="POST", path="/queues/{queue}/jobs", scopes=ENQUEUE,
        summary="Enqueue jobs, all or none", takes=payloads.Insert, gives=payloads.InsertAnswer,
        view=_insert, repeats=True, refusals=("queue_full",),
    ),
    Call(
        name="accepted", method="POST", path="/offers/{offer}/collect", scopes=ENQUEUE,
        summary="Ask what became of an offer, and keep it alive", gives=payloads.OfferAnswer,
        view=payloads.OfferAnswer, repeats=True, refusals=("not_found",),
    ),
    Call(
        name="withdraw", method="DELETE", path="/offers/{offer}", scopes=ENQUEUE,
        summary="Take an offer back", gives=payloads.OfferAnswer, view=payloads.OfferAnswer,
        repeats=True, refusals=("not_found",),
    ),
    # -- workers -------------------------------------------------------------------------------
    Call(
        name="claim", method="POST", path="/workers/{worker}/claim", scopes=AGENT,
        summary="Claim jobs, waiting for some if need be", takes=payloads.Claim,
        gives=ExchangedView, view=exchanged_view,
    ),
    Call(
        name="exchange", method="POST", path="/workers/{worker}/exchange", scopes=AGENT,
        summary="Report how jobs ended, and claim others", takes=payloads.Exchange,
        gives=ExchangedView, view=exchanged_view,
    ),
    Call(
        name="decline", method="POST", path="/workers/{worker}/decline", scopes=AGENT,
        summary="End a claim that waits",
    ),
    Call(
        name="settle", method="POST", path="/reports", scopes=AGENT,
        summary="Report how jobs ended", takes=payloads.Settle, gives=ExchangedView,
        view=exchanged_view,
    ),
    Call(
        name="extend", method="POST", path="/leases/extend", scopes=AGENT,
        summary="Renew leases; hear of each whether to go on", takes=payloads.Extend,
        gives=list[Renewal],
    ),
    Call(
        name="extend_worker", method="POST", path="/workers/{worker}/extend", scopes=AGENT,
        summary="Renew every lease of a worker", takes=payloads.ExtendWorker, gives=int,
    ),
    Call(
        name="write_output", method="POST", path="/output", scopes=AGENT,
        summary="Append captured output; hear of each job whether to go on",
        takes=payloads.WriteOutput, packed=True, gives=list[Renewal], repeats=True,
    ),
    Call(
        name="set_progress", method="POST", path="/progress", scopes=AGENT,
        summary="Note how far jobs are; hear of each whether to go on", takes=payloads.SetProgress,
        gives=list[Renewal],
    ),
    Call(
        name="set_stopping", method="POST", path="/stopping", scopes=AGENT,
        summary="Note what was done to stop jobs; hear of each whether to go on",
        takes=payloads.SetStopping, gives=list[Renewal],
    ),
    # -- operators -----------------------------------------------------------------------------
    Call(
        name="get", method="GET", path="/jobs/{job_id}", scopes=LOOK, summary="Show a job",
        gives=JobView, view=job_view, repeats=True, refusals=("not_found",),
    ),
    Call(
        name="find", method="GET", path="/jobs", scopes=READ, summary="List jobs, newest first",
        takes=payloads.FindQuery, gives=list[JobView], view=_jobs, repeats=True,
    ),
    Call(
        name="history", method="GET", path="/jobs/{job_id}/history", scopes=LOOK,
        summary="List the attempts of a job that did not succeed", gives=list[AttemptError],
        repeats=True, refusals=("not_found",),
    ),
    Call(
        name="output", method="GET", path="/jobs/{job_id}/output", scopes=LOOK,
        summary="Read captured output", takes=payloads.OutputQuery, gives=list[OutputChunk],
        repeats=True, refusals=("not_found",),
    ),
    Call(
        name="ahead", method="GET", path="/jobs/{job_id}/ahead", scopes=LOOK,
        summary="Count the available jobs before a job", gives=int, repeats=True,
        refusals=("not_found",),
    ),
    Call(
        name="offered", method="GET", path="/jobs/{job_id}/offered", scopes=LOOK,
        summary="Show the queue at which a job still waits for room", gives=QueueInfo | None,
        repeats=True,
    ),
    Call(
        name="counts", method="GET", path="/queues", scopes=LOOK, summary="List the queues",
        gives=list[QueueInfo], repeats=True,
    ),
    Call(
        name="check", method="GET", path="/check", scopes=ADMIN,
        summary="Look at everything that is stored; say what is wrong", gives=list[str],
        repeats=True,
    ),
    Call(
        name="cancel", method="POST", path="/jobs/{job_id}/cancel", scopes=ENQUEUE,
        summary="Cancel a job; a running one is asked to stop", takes=payloads.Cancel,
        gives=JobView, view=job_view, repeats=True,
        refusals=("not_found", "invalid_transition"), audited="cancel",
    ),
    Call(
        name="retry", method="POST", path="/jobs/{job_id}/retry", scopes=ADMIN,
        summary="Run an ended job again", gives=JobView, view=job_view,
        refusals=("not_found", "invalid_transition"), audited="retry",
    ),
    Call(
        name="delete", method="DELETE", path="/jobs/{job_id}", scopes=ADMIN,
        summary="Forget a job that has ended", refusals=("not_found", "invalid_transition"),
        audited="delete",
    ),
    Call(
        name="set_paused", method="PUT", path="/queues/{queue}/paused", scopes=ADMIN,
        summary="Pause a queue, or resume it", takes=payloads.Paused, repeats=True,
        audited="pause queue",
    ),
    # -- upkeep --------------------------------------------------------------------------------
    Call(
        name="stage", method="POST", path="/upkeep/stage", scopes=ADMIN,
        summary="Make due jobs available", takes=payloads.Stage, gives=Staged,
    ),
    Call(
        name="rescue", method="POST", path="/upkeep/rescue", scopes=AGENT,
        summary="Give back the jobs of lapsed leases and of dead workers", takes=payloads.Rescue,
        gives=list[str],
    ),
    Call(
        name="prune", method="POST", path="/upkeep/prune", scopes=ADMIN,
        summary="Delete jobs that ended long ago", takes=payloads.Prune, gives=int,
    ),
    Call(
        name="beat", method="PUT", path="/workers/{worker}", scopes=AGENT,
        summary="Say that a worker is there; hear what it is to do", takes=payloads.Beat,
        gives=Order, repeats=True,
    ),
    Call(
        name="order", method="PUT", path="/workers/{worker}/order", scopes=AGENT,
        summary="Have a worker claim, claim nothing, or drain and end", takes=payloads.Ordered,
        gives=bool, repeats=True, refusals=("not_found", "invalid_transition"),
        audited="order worker",
    ),
    Call(
        name="dismiss", method="DELETE", path="/workers/{worker}", scopes=ADMIN,
        summary="Have a worker go; one that holds jobs only by force",
        takes=payloads.DismissQuery, gives=Dismissed, repeats=True, refusals=("not_found", "busy"),
        audited="remove worker",
    ),
    Call(
        name="leave", method="POST", path="/workers/{worker}/leave", scopes=AGENT,
        summary="Forget a worker that has ended", repeats=True,
    ),
    Call(
        name="workers", method="GET", path="/workers", scopes=LOOK, summary="List the workers",
        gives=list[WorkerInfo], repeats=True,
    ),
    Call(
        name="put_schedule", method="PUT", path="/schedules/{name}", scopes=ADMIN,
        summary="Add a schedule or change its rule", takes=payloads.PutSchedule,
        gives=ScheduleInfo, repeats=True,
    ),
    Call(
        name="schedules", method="GET", path="/schedules", scopes=READ,
        summary="List the schedules", gives=list[ScheduleInfo], repeats=True,
    ),
    Call(
        name="pause_schedule", method="PUT", path="/schedules/{name}/paused", scopes=ADMIN,
        summary="Pause a schedule, or resume it", takes=payloads.Paused, repeats=True,
        refusals=("not_found",), audited="pause schedule",
    ),
    Call(
        name="tick", method="POST", path="/schedules/{name}/tick", scopes=ADMIN,
        summary="Enqueue what a schedule is due for", takes=payloads.Tick, gives=bool,
        refusals=("not_found",),
    ),
    # -- files ---------------------------------------------------------------------------------
    Call(
        name="content", method="GET", path="/contents/{digest}", scopes=CONTENTS,
        summary="Say how much of a content is there", gives=Content, repeats=True,
    ),
    Call(
        name="write_content", method="PUT", path="/contents/{digest}", scopes=CONTENTS,
        summary="Append a piece of a content, as bytes", takes=payloads.PieceQuery, raw="takes",
        gives=Content, repeats=True,
    ),
    Call(
        name="read_content", method="GET", path="/contents/{digest}/bytes", scopes=ANY,
        summary="Read a piece of a content, as bytes", takes=payloads.BytesQuery, raw="gives",
        repeats=True, refusals=("not_found",),
    ),
    Call(
        name="attach", method="POST", path="/jobs/{job_id}/artifacts", scopes=AGENT,
        summary="Note an artifact of a running job", takes=payloads.Attach, gives=bool,
        repeats=True,
    ),
    Call(
        name="files", method="GET", path="/jobs/{job_id}/files", scopes=LOOK,
        summary="List the inputs and artifacts of a job", gives=list[FileInfo], repeats=True,
        refusals=("not_found",),
    ),
    Call(
        name="sweep_contents", method="POST", path="/upkeep/sweep", scopes=ADMIN,
        summary="Remove contents that nobody needs", takes=payloads.Stage, gives=int,
    ),
    # -- scaling -------------------------------------------------------------------------------
    Call(
        name="load", method="GET", path="/load", scopes=LOOK,
        summary="Say what waits and runs, by queue and required labels", takes=payloads.LoadQuery,
        gives=list[Load], repeats=True,
    ),
    Call(
        name="lead", method="PUT", path="/leaders/{name}", scopes=ADMIN,
        summary="Lead for a time, if nobody else does; say who leads", takes=payloads.Lead,
        gives=Leader, repeats=True,
    ),
    Call(
        name="leader", method="GET", path="/leaders/{name}", scopes=READ,
        summary="Say who leads, or led last", gives=Leader | None, repeats=True,
    ),
    # -- access --------------------------------------------------------------------------------
    Call(
        name="tokens", method="GET", path="/tokens", scopes=ADMIN, summary="List the tokens",
        takes=payloads.PageQuery, gives=list[Token], repeats=True,
    ),
    Call(
        name="token", method="GET", path="/tokens/{token_id}", scopes=ADMIN,
        summary="Show a token", gives=Token, repeats=True, refusals=("not_found",),
    ),
    Call(
        name="add_token", method="PUT", path="/tokens/{token_id}", scopes=ADMIN,
        summary="Make a token known by the digest of its secret", takes=payloads.AddToken,
        audited="create token",
    ),
    Call(
        name="revoke_token", method="DELETE", path="/tokens/{token_id}", scopes=ADMIN,
        summary="Revoke a token", gives=Token, repeats=True, refusals=("not_found",),
        audited="revoke token",
    ),
    Call(
        name="actions", method="GET", path="/audit", scopes=ADMIN,
        summary="List what operators did, newest first", takes=payloads.BeforeQuery,
        gives=list[Action], repeats=True,
    ),
    Call(
        name="note_action", method="POST", path="/audit", scopes=ADMIN,
        summary="Add lines to the audit", takes=payloads.NoteAction,
    ),
)  # fmt: skip

CALLS = {call.name: call for call in _ROWS}

TERMS = Call(
    name="terms",
    method="GET",
    path="/server",
    scopes=ANY,
    summary="Say what the server is and asks of agents",
    gives=payloads.Terms,
    repeats=True,
)
SCALE = Call(
    name="scale",
    method="GET",
    path="/scale",
    scopes=READ,
    summary="Say how much there is to do for agents of one kind, for other scalers",
    takes=payloads.ScaleQuery,
    gives=payloads.Scale,
    repeats=True,
)
HINTS = Call(
    name="hints",
    method="GET",
    path="/hints",
    scopes=ANY,
    summary="Stream hints of what may have changed, a JSON text a line",
    takes=payloads.HintsQuery,
    repeats=True,
)

# What no method of the store answers.
OWN = (TERMS, SCALE, HINTS)
