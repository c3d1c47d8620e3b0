"""Requests and answers of the HTTP API, beside the data types of the store itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ...core.access import Action, Token
from ...core.bounds import BOUNDS, LONGEST
from ...core.files import PIECE, FileInfo
from ...core.job import (
    OutputChunk,
    Progress,
    ScheduleInfo,
    State,
    StopNote,
    TaskDefaults,
    WhenFull,
    WorkerInfo,
)
from ...core.stack import StackDump
from ..messages import (
    MAX_LABELS,
    MAX_WANTS,
    Accepted,
    Claimant,
    Lease,
    Offered,
    Order,
    Want,
)
from .wire import NewJobView, ReportView, decode_report

PAGE, MAX_ROWS, MAX_JOBS = 1000, 10_000, 100_000
# How many entries of a list, and rows of maintenance, a call can ask for; see Next-Cursor.
Page = Annotated[int, Meta(ge=1, le=PAGE)]
Rows = Annotated[int, Meta(ge=1, le=MAX_ROWS)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Reason = Annotated[str, Meta(max_length=BOUNDS["reason"].limit)]
Seconds = Annotated[float, Meta(ge=0, le=LONGEST)]


class Payload(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A query or body. An unknown field is an error, because it may be a misspelled one."""

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        """Return the arguments of the store's method, including those in the path."""
        return {**path, **{name: getattr(self, name) for name in self.__struct_fields__}}


class EmptyPayload(Payload, frozen=True):
    """No fields."""


class InsertBody(Payload, frozen=True):
    """Jobs for one queue: all or none are enqueued.

    `capacity` becomes the queue's capacity, null for unbounded; if left out it does not change. If
    the queue is full: with `wait` the call waits for room for that many seconds (at most 30) and
    then fails with `queue_full`; without `wait`, `when_full="wait"` returns an offer. `again` marks
    a repeated request whose first answer was lost.
    """

    jobs: Annotated[list[NewJobView], Meta(max_length=MAX_JOBS)]
    capacity: Annotated[int, Meta(ge=0)] | UnsetType | None = UNSET
    when_full: WhenFull = "wait"
    wait: Seconds | None = None
    again: bool = False


class ClaimBody(Payload, frozen=True):
    """A claim of at most `limit` jobs (of 1,000, if more) from the queues in `wants`, in order.

    With `wait` the server holds the answer until there is a job, for at most that many seconds (60,
    if more). `lease_for` is how long the jobs belong to the worker unless it renews their leases;
    the server may shorten it.

    `confirm_within` makes the claim provisional: unless `extend` confirms a job's lease within that
    many seconds, the job returns to its queue and the attempt does not count. Send 10, because the
    answer can be lost. Without it nothing is provisional: then the jobs of a lost answer stand
    still for `lease_for` seconds, and count as crashed.
    """

    wants: Annotated[list[Want], Meta(max_length=MAX_WANTS)]
    limit: Annotated[int, Meta(ge=1)] = 1
    lease_for: Seconds = 60.0
    labels: Annotated[frozenset[str], Meta(max_length=MAX_LABELS)] = frozenset()
    confirm_within: Seconds | None = None
    wait: Seconds = 0.0

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        claimant = Claimant(path["worker"], self.lease_for, self.labels, self.confirm_within)
        return {"wants": self.wants, "claimant": claimant, "limit": min(self.limit, PAGE)}


class ExchangeBody(ClaimBody, frozen=True):
    """Reports and a claim, in one transaction; the reports come first.

    With `wait`, the reports are written at once, and the answer waits for a job as a claim does.
    """

    reports: Annotated[list[ReportView], Meta(max_length=10_000)] = []

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        reports = list(map(decode_report, self.reports))
        return {**super().arguments(path), "reports": reports}


class SettleBody(Payload, frozen=True):
    """Outcomes of attempts."""

    reports: Annotated[list[ReportView], Meta(max_length=10_000)]

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        return {"reports": list(map(decode_report, self.reports))}


class ExtendBody(Payload, frozen=True):
    """Leases to renew for `lease_for` seconds."""

    leases: Annotated[list[Lease], Meta(max_length=10_000)]
    lease_for: Seconds = 60.0


class ExtendWorkerBody(Payload, frozen=True):
    """Renew every lease of a worker for `lease_for` seconds."""

    lease_for: Seconds = 60.0


class WriteOutputBody(Payload, frozen=True):
    """Captured output, in chunks; `data` is base64 in JSON, and bytes in MessagePack."""

    chunks: Annotated[list[OutputChunk], Meta(max_length=100_000)]


class SetProgressBody(Payload, frozen=True):
    """Progress of jobs."""

    reports: Annotated[list[tuple[Lease, Progress]], Meta(max_length=10_000)]


class SetStoppingBody(Payload, frozen=True):
    """Steps taken to stop jobs."""

    reports: Annotated[list[tuple[Lease, list[StopNote]]], Meta(max_length=10_000)]


class PutStackBody(Payload, frozen=True):
    """What a running job does, and the lease under which it runs."""

    lease: Lease
    dump: StackDump


class StackStored(msgspec.Struct, frozen=True):
    """Whether a dump was stored: false if none is requested under the lease."""

    stored: bool


class CancelBody(Payload, frozen=True):
    """The reason. `force` kills a running job without its grace period."""

    reason: Reason = "cancelled"
    force: bool = False


class PauseBody(Payload, frozen=True):
    """Whether to pause or resume, and why."""

    paused: bool
    reason: Reason = ""


class OrderBody(Payload, frozen=True):
    """An order for a worker; with `if_idle` only if it holds no jobs.

    A `quiet` worker claims no jobs. A worker ordered to `drain` exits when its running jobs have
    ended; that order is final.
    """

    order: Order
    if_idle: bool = False
    reason: Reason = ""

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        return {**path, "order": self.order, "if_idle": self.if_idle}


class DismissQuery(Payload, frozen=True):
    """`force` removes a worker even if it holds jobs; they return to their queues as crashed."""

    force: bool = False
    reason: Reason = ""

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        return {**path, "force": self.force}


class ReasonBody(Payload, frozen=True):
    """Why, for the audit log."""

    reason: Reason = ""

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        return dict(path)


class ReasonQuery(ReasonBody, frozen=True):
    """Why, for the audit log."""


class BeatBody(Payload, frozen=True):
    """A worker's description of itself."""

    info: WorkerInfo

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        return {"worker": self.info}


class LimitBody(Payload, frozen=True):
    """How many rows to process at most."""

    limit: Rows = PAGE


class RescueBody(Payload, frozen=True):
    """The ids of dead workers, and of the jobs that they had started (null: unknown).

    Without dead workers, the jobs of expired leases are returned.
    """

    dead: Annotated[list[str], Meta(max_length=PAGE)] = []
    begun: Annotated[list[str], Meta(max_length=MAX_JOBS)] | None = None
    evidence: Annotated[str, Meta(max_length=BOUNDS["message"].limit)] = ""
    limit: Rows = PAGE


class PruneBody(Payload, frozen=True):
    """For how many seconds to keep final jobs, by state."""

    retention: dict[State, float]
    limit: Rows = PAGE


class PutTasksBody(Payload, frozen=True):
    """What an application declares about its tasks."""

    tasks: Annotated[list[TaskDefaults], Meta(max_length=10_000)]


class PutScheduleBody(Payload, frozen=True):
    """A schedule to add or change."""

    schedule: ScheduleInfo

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        return {"schedule": self.schedule}


class TickBody(Payload, frozen=True):
    """The jobs that a schedule enqueues now, and when it is due next."""

    due_at: float
    next_at: float
    jobs: Annotated[list[NewJobView], Meta(max_length=MAX_JOBS)]
    queue: Name = "default"


class PieceQuery(Payload, frozen=True):
    """The offset of the piece, and whether it is the last one."""

    offset: int = 0
    last: bool = False


class BytesQuery(Payload, frozen=True):
    """At most `limit` bytes, starting at `offset`."""

    offset: int = 0
    limit: int = PIECE


class AttachBody(Payload, frozen=True):
    """The lease of the job, and the artifact."""

    lease: int
    file: FileInfo

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        return {"lease": Lease(path["job_id"], self.lease), "file": self.file}


class LoadQuery(Payload, frozen=True):
    """How many groups of queue and labels to return at most, and of which queue (default: all)."""

    limit: Rows = PAGE
    queue: Name | None = None


class ScaleQuery(Payload, frozen=True):
    """One kind of agent: its queue (default: all queues), its labels and its number of slots.

    `requires` is a comma-separated list of the agent's labels. A job counts if the agent can run
    it: the agent has all labels that the job requires, and for a label like `gpu!only` the job
    requires `gpu`.
    """

    queue: Name | None = None
    requires: str = ""
    slots: Annotated[int, Meta(ge=1, le=10_000)] = 1


class MetricsQuery(Payload, frozen=True):
    """Which scalers to show: a comma-separated list of their names."""

    scalers: str = "scaler"


class LeadBody(Payload, frozen=True):
    """A candidate, for how many seconds it wants to lead (0: resign), and a note to store."""

    holder: Name
    hold: Seconds
    note: str | None = None


class AddTokenBody(Payload, frozen=True):
    """A token with the digest of its secret; the secret itself is never sent."""

    token: Token

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        return {"token": self.token}


class NoteActionBody(Payload, frozen=True):
    """Lines for the audit log; the server sets their times."""

    actions: Annotated[list[Action], Meta(max_length=1000)]


class HintsQuery(Payload, frozen=True):
    """`kinds` is a comma-separated list of the kinds of hints to stream."""

    kinds: str = ""


class ServerTerms(msgspec.Struct, frozen=True, kw_only=True):
    """The server's version and time, and its terms for agents. Durations are seconds.

    A lease lasts `lease_for` and must be renewed every quarter of it. The server holds a waiting
    claim for `hold`. A worker sends a heartbeat every `beat`. `token` is the id of the token in the
    request, null without one.
    """

    version: str
    now: float
    lease_for: float
    hold: float
    beat: float
    token: str | None = None


class ScaleAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The load for one kind of agent. These names are stable.

    `waiting` jobs could start now, `running` jobs are running, `total` is the sum. `oldest_age` is
    how long the oldest waiting job has waited, in seconds; 0 if none waits. `wanted_agents` is the
    number of agents with the given slots that `total` needs.
    """

    waiting: int
    running: int
    total: int
    oldest_age: float
    wanted_agents: int


class OfferAnswer(msgspec.Struct, frozen=True):
    """The accepted jobs of an offer; null while it waits."""

    accepted: Accepted | None = None


class InsertAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The jobs are enqueued (`accepted`), or the queue is full and they wait (`offered`)."""

    accepted: Accepted | None = None
    offered: Offered | None = None
