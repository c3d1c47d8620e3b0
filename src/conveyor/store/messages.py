"""What stores are told and what they answer: plain, frozen data beside the job itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from ..core.job import JobRecord, State
from ..core.lifecycle import Outcome


class Lease(msgspec.Struct, frozen=True):
    """The right to write back to one running job: its id and its fencing token."""

    id: str
    lease: int


class Report(msgspec.Struct, frozen=True, gc=False):
    """How one attempt ended, under the lease it ran with."""

    id: str
    lease: int
    outcome: Outcome


class Want(msgspec.Struct, frozen=True):
    """A worker's wish for at most `limit` jobs of one queue."""

    queue: str
    limit: int


# How long a claim over a network lasts until it has to be confirmed: its answer may be lost.
CONFIRM = 10.0


class Claimant(msgspec.Struct, frozen=True):
    """Who claims: the worker's id, its labels, and for how many seconds it leases.

    `confirm_within` is how many seconds such a claim lasts unless its first `extend` confirms it;
    None: it is confirmed as it is given.
    """

    worker: str
    lease_for: float = 60.0
    labels: frozenset[str] = frozenset()
    confirm_within: float | None = None


# For an exchange that only settles.
NO_CLAIMANT = Claimant("")


class Exchanged(msgspec.Struct, frozen=True):
    """What came of a batch: ids whose report was accepted, and the newly claimed jobs.

    A report that is missing from `settled` came with a stale lease: its result was dropped.
    """

    settled: tuple[str, ...]
    jobs: tuple[JobRecord, ...]


Verdict = Literal["continue", "cancel", "lost"]


class Renewal(msgspec.Struct, frozen=True):
    """What the store says about one lease: go on, stop (with the reason), or it is not yours.

    `forced`: the one who cancels wants no grace waited for.
    """

    id: str
    verdict: Verdict
    reason: str = ""
    forced: bool = False


class Accepted(msgspec.Struct, frozen=True):
    """The jobs are in the store. `ids` are in the order asked for.

    Where a unique key was taken the id is that of the job which holds it, and it is listed in
    `existing` too.
    """

    ids: tuple[str, ...]
    existing: tuple[str, ...] = ()


class Offered(msgspec.Struct, frozen=True):
    """The queue is full: the request waits in line as this offer. No job exists yet.

    `accepted()` keeps it alive; an offer whose producer is silent for `OFFER_PATIENCE` seconds
    is dropped. `depth` and `capacity` are those at the time of asking.
    """

    offer: str
    queue: str
    depth: int
    capacity: int


OFFER_PATIENCE = 5.0
# How long an answer waits for its producer; the jobs are in the store whether it comes or not.
COLLECT_PATIENCE = 60.0


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs a list is about; None means any. Newest first; `before` is a `seq` to page on."""

    queue: str | None = None
    task: str | None = None
    states: frozenset[State] = frozenset()
    before: int | None = None
    enqueued_before: float | None = None


class Staged(msgspec.Struct, frozen=True):
    """How many due jobs became available, and when the next one is due (None: none waits)."""

    moved: int
    next_due_at: float | None


class Content(msgspec.Struct, frozen=True):
    """How much of a content is there, in bytes, and whether that is all of it."""

    size: int
    whole: bool


# What a worker is told: to claim, to claim nothing, or to drain and end.
Order = Literal["work", "quiet", "drain"]

# A worker that was silent for so many seconds is removed at once, as it may never hear of it.
SILENCE = 60.0


class Dismissed(msgspec.Struct, frozen=True):
    """How a worker was removed: whether it is forgotten already, and the jobs it had to give back.

    One that is not `forgotten` is to drain, and goes by itself.
    """

    forgotten: bool
    jobs: tuple[str, ...] = ()


class Load(msgspec.Struct, frozen=True):
    """What waits and runs of the jobs of one queue that require the same labels, in order.

    `waiting` are those that a worker could be given at once. `oldest_at`: since when the first of
    them could have run, in Unix seconds; None if none is in the store.
    """

    queue: str
    requires: tuple[str, ...]
    waiting: int
    running: int
    oldest_at: float | None = None


class Leader(msgspec.Struct, frozen=True):
    """Who leads, or led last: `until` says for how long, `since` from when. Unix seconds.

    `term` counts the holders, so that what an earlier one still does can be told and refused.
    `note` is what the last of them wrote down.
    """

    name: str
    holder: str
    until: float
    since: float
    term: int
    note: str = ""


HintKind = Literal["work", "due", "final", "offer", "cancel", "output", "quiet", "access"]


class Hint(msgspec.Struct, frozen=True):
    """Something may have changed: go and look. May be late, may be missing, may be for nothing.

    `work`: a queue has jobs to claim (subjects: queue names). `due`: a queue has jobs that become
    available later (queue names). `final`: jobs ended (job ids). `offer`: offers were accepted
    (offer ids). `cancel`: running jobs are to stop (job ids). `output`: jobs wrote output (job
    ids). `quiet`: workers were given an order (worker ids). `access`: tokens were added
    or revoked (token ids). No subjects means "any".
    """

    kind: HintKind
    subjects: tuple[str, ...] = ()


Listener = Callable[[Hint], None]
