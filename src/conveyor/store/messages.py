"""Arguments and answers of stores: plain, frozen data beside the job itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec

from ..core.job import ErrorInfo, JobRecord, State
from ..core.lifecycle import Outcome

# Jobs that were discarded although no code of theirs had failed, with the reason: for the log.
Discards = deque[tuple[JobRecord, ErrorInfo]]
# How many of these wait to be logged; older ones are dropped.
UNLOGGED = 1000
NO_DISCARDS: Discards = deque(maxlen=0)


def new_discards() -> Discards:
    """Return an empty list of discards."""
    return deque(maxlen=UNLOGGED)


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
    """A request for at most `limit` jobs of one queue."""

    queue: str
    limit: int


# How many queues and labels a claim over a network may name.
MAX_WANTS, MAX_LABELS = 1000, 100

# How many seconds a claim over a network lasts unless it is confirmed: its answer may be lost.
CONFIRM = 10.0


class Claimant(msgspec.Struct, frozen=True):
    """The worker that claims: its id, its labels, and the length of its leases in seconds.

    `confirm_within` makes the claim provisional: it lasts that many seconds unless a first `extend`
    confirms it. None: the claim needs no confirmation.
    """

    worker: str
    lease_for: float = 60.0
    labels: frozenset[str] = frozenset()
    confirm_within: float | None = None


# For an exchange that only settles.
NO_CLAIMANT = Claimant("")


class Exchanged(msgspec.Struct, frozen=True):
    """The result of a batch: ids whose report was accepted, and the newly claimed jobs.

    A report that is missing from `settled` had a stale lease; its result was dropped. `became` has
    the states of those of the settled jobs that have not succeeded.
    """

    settled: tuple[str, ...]
    jobs: tuple[JobRecord, ...]
    became: dict[str, State] = {}


Verdict = Literal["continue", "cancel", "lost"]


class Renewal(msgspec.Struct, frozen=True):
    """The verdict on one lease: continue, cancel (with the reason), or lost.

    `forced`: stop the job without waiting for its grace period.
    """

    id: str
    verdict: Verdict
    reason: str = ""
    forced: bool = False


class Accepted(msgspec.Struct, frozen=True):
    """The jobs are in the store. `ids` are in the order asked for.

    If a unique key was taken, the id is that of the job that holds the key; it is listed in
    `existing` as well, and in `replaced` if it has taken over the arguments and options of the
    call. `dropped` of the oldest waiting jobs were discarded to make room.
    """

    ids: tuple[str, ...]
    existing: tuple[str, ...] = ()
    dropped: int = 0
    replaced: tuple[str, ...] = ()


class Offered(msgspec.Struct, frozen=True):
    """The queue is full, and the request waits as this offer. No job exists yet.

    `accepted()` keeps it alive; it is dropped once its producer has been silent for
    `OFFER_PATIENCE` seconds. `depth` and `capacity` are those at the time of the call.
    """

    offer: str
    queue: str
    depth: int
    capacity: int


OFFER_PATIENCE = 5.0
# How many seconds an answer is kept for its producer. The jobs are in the store either way.
COLLECT_PATIENCE = 60.0


_PLACE = frozenset({"before", "after", "oldest_first"})


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs to list; None means any. Newest first; page on with the last `seq` as `before`.

    With `oldest_first`, page on with it as `after`. `worker` runs a job or has run it last. `error`
    is a fingerprint: the newest failed attempt of the job has it. `text` is in the arguments, as
    they are in JSON, with upper and lower case, of jobs whose arguments have at most 64 KiB.
    """

    queue: str | None = None
    task: str | None = None
    states: frozenset[State] = frozenset()
    before: int | None = None
    enqueued_before: float | None = None
    enqueued_after: float | None = None
    worker: str | None = None
    error: str | None = None
    text: str | None = None
    after: int | None = None
    oldest_first: bool = False

    def described(self) -> str:
        """Return the filter for people, like "queue=mail states=discarded"; "all" if it is empty.

        It says nothing about the place in the list.
        """
        given = (
            (name, getattr(self, name)) for name in self.__struct_fields__ if name not in _PLACE
        )
        return (
            " ".join(
                f"{name}={','.join(sorted(value)) if name == 'states' else value}"
                for name, value in given
                if value not in (None, frozenset())
            )
            or "all"
        )


# How many jobs a page of a list looks at, at most, and if it searches their arguments.
LOOKED_AT, SEARCHED = 10_000, 2000
# Larger arguments are not searched, in bytes.
SEARCHED_ARGS = 64 << 10


class JobCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs match a filter, by state and by queue.

    No state is counted beyond `COUNTED`, which `is_capped` says. Unless `is_complete`, the jobs of
    some states are so many that only those among the newest `looked_at` jobs were counted.
    """

    counts: dict[State, int]
    queues: dict[str, int] = {}
    is_capped: bool = False
    is_complete: bool = True
    looked_at: int | None = None


class Matched(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs that an action on a filter would change, before it is carried out.

    `count` jobs match, and `changeable` of them are in a state that the action can change; the
    limits are those of `JobCounts`. `upto` is the newest job: later ones will not be changed.
    """

    count: int
    changeable: int
    states: dict[State, int]
    queues: dict[str, int]
    is_capped: bool
    is_complete: bool
    upto: int


class Acted(msgspec.Struct, frozen=True, kw_only=True):
    """One step of an action on a filter. Call again with `next` as `before` until it is None.

    `jobs` are the changed ones with their new state, "deleted" for those that are gone. `refused`
    counts those that could not be changed, and `problems` says why, for the first ten.
    """

    changed: int
    refused: int
    jobs: tuple[tuple[str, str], ...] = ()
    problems: tuple[str, ...] = ()
    next: int | None = None


class Staged(msgspec.Struct, frozen=True):
    """How many due jobs became available, and when the next one is due (None: there is none)."""

    moved: int
    next_due_at: float | None


class Content(msgspec.Struct, frozen=True):
    """How many bytes of a content are stored, and whether it is complete."""

    size: int
    whole: bool


# What a worker must do: claim, claim nothing, or drain and exit.
Order = Literal["work", "quiet", "drain"]

# A worker that was silent for this many seconds is removed at once: it may never see the order.
SILENCE = 60.0


class Dismissed(msgspec.Struct, frozen=True):
    """How a worker was removed: whether it is forgotten already, and the jobs it had to release.

    A worker that is not `forgotten` has the order to drain, and exits by itself.
    """

    forgotten: bool
    jobs: tuple[str, ...] = ()


class Load(msgspec.Struct, frozen=True):
    """How many jobs of one queue and set of required labels wait and run.

    `waiting` counts jobs that a worker could claim now. `oldest_at` is since when the first of them
    could have run, in Unix seconds; None if none is in the store.
    """

    queue: str
    requires: tuple[str, ...]
    waiting: int
    running: int
    oldest_at: float | None = None


# A day, in seconds. An end of leadership that is farther away is damaged, and binds nobody.
LONGEST_HOLD = 86_400.0


class Leader(msgspec.Struct, frozen=True):
    """The current or last leader: it leads from `since` to `until`, in Unix seconds.

    `term` counts the holders, so that late actions of an earlier one can be refused. `note` is the
    last note that a holder left.
    """

    name: str
    holder: str
    until: float
    since: float
    term: int
    note: str = ""


HintKind = Literal["work", "due", "final", "offer", "cancel", "output", "quiet", "access", "stack"]


class Hint(msgspec.Struct, frozen=True):
    """Something may have changed, so look. A hint may be late, lost or unfounded.

    `work`: a queue has jobs to claim (subjects: queue names). `due`: a queue has jobs that become
    available later (queue names). `final`: jobs ended (job ids). `offer`: offers were accepted
    (offer ids). `cancel`: running jobs must stop (job ids). `output`: jobs wrote output (job
    ids). `quiet`: workers were given an order (worker ids). `access`: tokens were added
    or revoked (token ids). `stack`: a dump of a running job is requested (worker ids). No
    subjects means "any".
    """

    kind: HintKind
    subjects: tuple[str, ...] = ()


Listener = Callable[[Hint], None]
