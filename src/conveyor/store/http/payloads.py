"""What a call of the HTTP API takes and gives beside the data of the store itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ...core.access import Action, Token
from ...core.files import PIECE, FileInfo
from ...core.job import OutputChunk, Progress, ScheduleInfo, State, StopNote, WhenFull, WorkerInfo
from ...errors import UsageError
from ..messages import Accepted, Claimant, Filter, Lease, Offered, Order, Want
from .wire import NewJobView, ReportView, new_job_of, report_of

PAGE = 1000
# The most that any call looks at, whatever it is asked for.
MOST = 10_000
Page = Annotated[int, Meta(ge=1)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Seconds = Annotated[float, Meta(ge=0)]


class Body(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """What a call takes. A name that is not known is refused: it may be a wrongly spelled one."""

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        """Return the arguments of the store's method, those that stand in the path among them."""
        given = {name: getattr(self, name) for name in self.__struct_fields__}
        if "limit" in given:
            given["limit"] = min(given["limit"], MOST)
        return {**path, **given}


class Nothing(Body, frozen=True):
    """Nothing."""


class Insert(Body, frozen=True):
    """Jobs for one queue, taken all or none.

    `capacity` is the queue's bound from now on, null for none; without it the bound stays as it
    is. With `wait` a full queue is waited for, so many seconds at most (30), and then refuses;
    without it `when_full="wait"` answers with an offer. `again` says that the same was sent before
    and its answer was lost.
    """

    jobs: Annotated[list[NewJobView], Meta(max_length=100_000)]
    capacity: Annotated[int, Meta(ge=0)] | UnsetType | None = UNSET
    when_full: WhenFull = "wait"
    wait: Seconds | None = None
    again: bool = False


class Claim(Body, frozen=True):
    """What a worker asks for: at most `limit` jobs of the queues in `wants`, in their order.

    With `wait` the answer is held back, for so many seconds at most, until there is a job.
    """

    wants: Annotated[list[Want], Meta(max_length=1000)]
    limit: Page = 1
    lease_for: Seconds = 60.0
    labels: Annotated[frozenset[str], Meta(max_length=100)] = frozenset()
    confirm_within: Seconds | None = None
    wait: Seconds = 0.0

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        who = Claimant(path["worker"], self.lease_for, self.labels, self.confirm_within)
        return {"wants": self.wants, "who": who, "limit": min(self.limit, PAGE)}


class Exchange(Claim, frozen=True):
    """`Claim`, after the reports were taken, in one transaction."""

    reports: Annotated[list[ReportView], Meta(max_length=10_000)] = []

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        reports = list(map(report_of, self.reports))
        return {**super().arguments(path), "reports": reports}


class Settle(Body, frozen=True):
    """How attempts ended."""

    reports: Annotated[list[ReportView], Meta(max_length=10_000)]

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        return {"reports": list(map(report_of, self.reports))}


class Extend(Body, frozen=True):
    """Leases to renew for `lease_for` seconds."""

    leases: Annotated[list[Lease], Meta(max_length=10_000)]
    lease_for: Seconds = 60.0


class ExtendWorker(Body, frozen=True):
    """Renew every lease of a worker for `lease_for` seconds."""

    lease_for: Seconds = 60.0


class WriteOutput(Body, frozen=True):
    """Captured output, in chunks; `data` is base64 in JSON, and bytes in MessagePack."""

    chunks: Annotated[list[OutputChunk], Meta(max_length=100_000)]


class SetProgress(Body, frozen=True):
    """How far jobs are."""

    reports: Annotated[list[tuple[Lease, Progress]], Meta(max_length=10_000)]


class SetStopping(Body, frozen=True):
    """What was done to stop jobs."""

    reports: Annotated[list[tuple[Lease, list[StopNote]]], Meta(max_length=10_000)]


class Cancel(Body, frozen=True):
    """Why, and whether without waiting for the job's grace."""

    reason: Annotated[str, Meta(max_length=2000)] = "cancelled"
    force: bool = False


class Paused(Body, frozen=True):
    """Whether it is to be paused."""

    paused: bool


class Ordered(Body, frozen=True):
    """What a worker is to do; `if_idle`: only if it holds no job just then.

    A `quiet` worker claims nothing. One that is to `drain` ends when what it runs has ended, and
    can be told nothing else any more.
    """

    order: Order
    if_idle: bool = False


class DismissQuery(Body, frozen=True):
    """Whether a worker is to go even if it holds jobs: they are then given back as crashed."""

    force: bool = False


class Beat(Body, frozen=True):
    """A worker as it presents itself."""

    info: WorkerInfo

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        return {"worker": self.info}


class Stage(Body, frozen=True):
    """How many jobs to look at."""

    limit: Page = PAGE


class Rescue(Body, frozen=True):
    """Which workers are known to be dead, and which jobs they had begun (null: not known)."""

    dead: list[str] = []
    begun: list[str] | None = None
    evidence: str = ""
    limit: Page = PAGE


class Prune(Body, frozen=True):
    """How long final jobs are kept, in seconds, by state."""

    retention: dict[State, float]
    limit: Page = PAGE


class PutSchedule(Body, frozen=True):
    """A schedule to add or change."""

    schedule: ScheduleInfo

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        return {"schedule": self.schedule}


class Tick(Body, frozen=True):
    """What a schedule enqueues, and when it is due again."""

    due_at: float
    next_at: float
    jobs: list[NewJobView]
    queue: Name = "default"

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        jobs = [new_job_of(view, self.queue) for view in self.jobs]
        return {**path, "due_at": self.due_at, "next_at": self.next_at, "jobs": jobs}


class FindQuery(Body, frozen=True):
    """Which jobs: by queue, task and states (with commas between). `before` is a `seq`."""

    queue: str | None = None
    task: str | None = None
    states: str = ""
    before: int | None = None
    enqueued_before: float | None = None
    limit: Page = 100

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        named = [each for each in self.states.split(",") if each]
        unknown = sorted(set(named) - set(State))
        if unknown:
            raise UsageError(f"there is no state {unknown[0]!r}: {', '.join(State)}")
        which = Filter(
            queue=self.queue,
            task=self.task,
            states=frozenset(map(State, named)),
            before=self.before,
            enqueued_before=self.enqueued_before,
        )
        return {"which": which, "limit": min(self.limit, PAGE)}


class OutputQuery(Body, frozen=True):
    """Chunks whose `seq` is above `after`, at most `limit`."""

    after: int = 0
    limit: Page = PAGE


class PieceQuery(Body, frozen=True):
    """Where the piece begins, and whether it is the last."""

    offset: int = 0
    last: bool = False


class BytesQuery(Body, frozen=True):
    """At most `limit` bytes from `offset` on."""

    offset: int = 0
    limit: int = PIECE


class Attach(Body, frozen=True):
    """The lease of the job, and what it leaves."""

    lease: int
    file: FileInfo

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        return {"lease": Lease(path["job_id"], self.lease), "file": self.file}


class LoadQuery(Body, frozen=True):
    """How many queues and sets of labels at most."""

    limit: Page = PAGE


class ScaleQuery(Body, frozen=True):
    """For which agents: the queue that they serve (left out: all), their labels, their slots.

    `requires` are the agents' labels, with commas between. A job counts if an agent that has them
    may run it: all that it requires is among them, and with `gpu!only` it requires `gpu`.
    """

    queue: Name | None = None
    requires: str = ""
    slots: Annotated[int, Meta(ge=1, le=10_000)] = 1


class Lead(Body, frozen=True):
    """Who wants to lead, for how many seconds (0: no more), and what to write down by then."""

    holder: Name
    hold: Seconds
    note: str | None = None


class AddToken(Body, frozen=True):
    """A token, by the digest of its secret; the secret stays with whoever made it."""

    token: Token

    def arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        return {"token": self.token}


class NoteAction(Body, frozen=True):
    """Lines for the audit; the server sets their times."""

    actions: Annotated[list[Action], Meta(max_length=1000)]


class PageQuery(Body, frozen=True):
    """At most `limit`, beyond `after`."""

    after: str = ""
    limit: Page = PAGE


class BeforeQuery(Body, frozen=True):
    """At most `limit`, newest first, before a `seq`."""

    before: int | None = None
    limit: Page = PAGE


class HintsQuery(Body, frozen=True):
    """Which kinds of hints, with commas between."""

    kinds: str = ""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says of itself, and what it asks of agents. Durations are seconds.

    `now` is its time. Leases last `lease_for` and are renewed every quarter of it. A claim that
    waits is held for `hold`. `token` is the id of the token that asked; None without one.
    """

    version: str
    now: float
    lease_for: float
    hold: float
    beat: float
    token: str | None = None


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """How much there is to do for agents of one kind. The names stay as they are.

    `waiting` jobs could run at once, `running` ones do, `total` are both. `oldest_age` is for how
    many seconds the first that waits has been waiting, 0 if none does. `wanted_agents` is how many
    agents with so many slots the total needs.
    """

    waiting: int
    running: int
    total: int
    oldest_age: float
    wanted_agents: int


class OfferAnswer(msgspec.Struct, frozen=True):
    """What became of an offer; null while it waits."""

    accepted: Accepted | None = None


class InsertAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The jobs are in the store (`accepted`), or the request waits in line (`offered`)."""

    accepted: Accepted | None = None
    offered: Offered | None = None
