"""The store protocol, split by caller: producers, workers, operators and maintenance.

Every method answers with a `Pending`: blocking code calls `.result()` on it, async code awaits it.
A call is one transaction: it takes effect completely or not at all, in the order of the calls. The
store's clock alone decides what is due and what has expired. Anything that is not found raises
`NotFoundError`; a store that cannot be reached raises `UnavailableError`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from ..core.job import (
    HISTORY,
    AttemptError,
    Detail,
    JobRecord,
    NewJob,
    OutputChunk,
    Progress,
    QueueInfo,
    State,
    StopNote,
    TaskDefaults,
    WhenFull,
    WorkerInfo,
)
from ..core.page import LISTED, Page
from ..core.pending import Pending
from .messages import (
    Accepted,
    Claimant,
    Dismissed,
    Exchanged,
    Filter,
    HintKind,
    Lease,
    Listener,
    Offered,
    Order,
    Renewal,
    Report,
    Staged,
    Want,
)
from .protocol_access import AccessStore
from .protocol_autoscale import ScalerStore
from .protocol_files import FileStore
from .protocol_history import HistoryStore
from .protocol_inspection import InspectionStore
from .protocol_schedules import ScheduleStore
from .protocol_stacks import StackStore
from .protocol_traits import StoreTraits


class ProducerStore(Protocol):
    """For programs that enqueue."""

    def insert(
        self,
        jobs: Sequence[NewJob],
        *,
        capacity: int | None = None,
        when_full: WhenFull = "wait",
        again: bool = False,
    ) -> Pending[Accepted | Offered]:
        """Insert the jobs, which must be of one queue: all or none.

        Raises QueueFullError when the queue is full and `when_full` is "refuse", when dropping the
        oldest available jobs would not make room, and whenever the jobs could never fit.
        `when_full="wait"` answers with an offer instead; at capacity 0 every policy does.

        `again`: the same request may have been sent before, and its answer lost. If any of its jobs
        is in the store or in an offer, nothing is inserted and the first answer is repeated. A job
        that its key kept out is answered with the key's present holder, or with its own id if
        there is none. If all were kept out, nothing of the request is known, so it counts as new.
        """
        ...

    def task_defaults(self, task: str) -> Pending[TaskDefaults | None]:
        """Return what an application declared about a task; None if none has declared it."""
        ...

    def accepted(self, offer: str) -> Pending[Accepted | None]:
        """Return the answer to an offer, once; None while it waits. Keeps the offer alive.

        NotFoundError when the offer is unknown: collected, withdrawn, or dropped for silence.
        """
        ...

    def withdraw(self, offer: str) -> Pending[Accepted | None]:
        """Withdraw an offer. Returns the answer if it was accepted before, else None."""
        ...


class WorkerStore(Protocol):
    """For workers. Every write-back names its lease; a stale lease changes nothing."""

    def claim(self, wants: Sequence[Want], claimant: Claimant, *, limit: int) -> Pending[Exchanged]:
        """Lease at most `limit` available jobs, serving the wants in their order.

        It ends early with the job that takes their arguments and options to `PAGE_BYTES`.

        Within a queue: higher priority first, then the longer due, then the earlier accepted. A
        job is only given to a claimant that has every label in its `requires`; with a label
        "!only" (such as "gpu!only") a claimant takes only jobs that require that label. A paused
        queue gives nothing, and a quiet or draining worker gets nothing. A job past its
        `expires_at` is discarded instead.

        With `confirm_within` the claim is provisional: the job is running, but has not started
        until its lease is extended for the first time. If that does not happen in time, the job is
        returned as if it had never been claimed.
        """
        ...

    def decline(self, worker: str) -> Pending[None]:
        """Stop claiming for this worker.

        A store over a network returns the jobs of a claim that still waits.
        """
        ...

    def settle(self, reports: Sequence[Report]) -> Pending[Exchanged]:
        """Write back how attempts ended. `lifecycle.settle` decides; each attempt that did not
        succeed goes into the job's history (an interrupted or snoozed one does not).
        """
        ...

    def exchange(
        self, reports: Sequence[Report], wants: Sequence[Want], claimant: Claimant, *, limit: int
    ) -> Pending[Exchanged]:
        """Settle one batch and claim the next in one transaction."""
        ...

    def extend(self, leases: Sequence[Lease], *, lease_for: float) -> Pending[list[Renewal]]:
        """Renew leases for `lease_for` seconds from now; one verdict each, in the same order.

        The first renewal of a provisional claim confirms it.
        """
        ...

    def extend_worker(self, worker: str, *, lease_for: float) -> Pending[int]:
        """Renew every lease of a worker; returns how many. For its sidecar process.

        Provisional claims are left alone: the worker may not know of them.
        """
        ...

    def write_output(self, chunks: Sequence[OutputChunk]) -> Pending[list[Renewal]]:
        """Append captured output; one verdict for each lease, in the order in which they come.

        Nothing is kept under a lost lease. A chunk that is already stored (same job, lease and
        offset) is ignored.
        """
        ...

    def set_progress(self, reports: Sequence[tuple[Lease, Progress]]) -> Pending[list[Renewal]]:
        """Record the progress of jobs; one verdict each, in the same order."""
        ...

    def set_stopping(
        self, reports: Sequence[tuple[Lease, Sequence[StopNote]]]
    ) -> Pending[list[Renewal]]:
        """Record the steps taken to stop jobs; one verdict each, in the same order.

        They stay on the job after it has ended, until its next attempt begins.
        """
        ...


class OperatorStore(Protocol):
    """For operators."""

    def get(self, job_id: str) -> Pending[JobRecord]:
        """Return the job as it stands."""
        ...

    def find(
        self, which: Filter, *, limit: int, include: Collection[Detail] = ()
    ) -> Pending[Page[JobRecord]]:
        """Return at most `limit` jobs, newest first, without the details that are not included.

        A page of this and of other lists also ends before it has `PAGE_BYTES`: read on after its
        last entry while it says that there are `more`. A page of this one also ends where it has
        looked at 10,000 jobs, and may then be empty: read on after its `next`.
        """
        ...

    def history(
        self, job_id: str, *, after: int = 0, limit: int = HISTORY
    ) -> Pending[Page[AttemptError]]:
        """Return the newest 1,000 attempts of the job that did not succeed, oldest first.

        At most `limit`, whose `seq` is above `after`.
        """
        ...

    def output(
        self, job_id: str, *, after: int = 0, before: int | None = None, limit: int
    ) -> Pending[Page[OutputChunk]]:
        """Return at most `limit` chunks of captured output whose `seq` is above `after`.

        With `before`, the last ones below it (0: of all); `more` then says that there are earlier.
        """
        ...

    def counts(self, *, after: str = "", limit: int = LISTED) -> Pending[Page[QueueInfo]]:
        """Return the queues that were ever used, by name: at most `limit` after a name."""
        ...

    def queue_info(self, queue: str) -> Pending[QueueInfo]:
        """Return one queue; NotFoundError if it was never used."""
        ...

    def ahead(self, job_id: str) -> Pending[int]:
        """Return how many available jobs of the same queue would be claimed before this one."""
        ...

    def offered(self, job_id: str) -> Pending[QueueInfo | None]:
        """Return the queue in which this job is offered; None if it is not."""
        ...

    def check(self) -> Pending[list[str]]:
        """Check everything that is stored; returns at most 100 descriptions of problems."""
        ...

    def cancel(self, job_id: str, *, reason: str, force: bool = False) -> Pending[JobRecord]:
        """Cancel a waiting job at once; request its worker to stop a running one.

        `force` skips the job's grace period; it may follow a request without. The first reason
        stays.
        """
        ...

    def retry(self, job_id: str, *, reason: str = "") -> Pending[JobRecord]:
        """Make an ended or delayed job available again with all its retries; keeps its history.

        Here and below, `reason` is why, for the audit log of a store that records actions itself.
        """
        ...

    def delete(self, job_id: str, *, reason: str = "") -> Pending[None]:
        """Delete a final job with its output and history."""
        ...

    def set_paused(
        self, queue: str, *, paused: bool, reason: str = "", by: str = ""
    ) -> Pending[None]:
        """Stop or resume handing out a queue's jobs. Enqueueing goes on. `by` is who pauses it."""
        ...


class MaintenanceStore(Protocol):
    """For maintenance. Any number of workers may run it at once."""

    def stage(self, *, limit: int) -> Pending[Staged]:
        """Make due scheduled and retryable jobs available; discard waiting ones that expired;
        drop offers of silent producers.
        """
        ...

    def rescue(
        self,
        *,
        dead: Sequence[str] = (),
        begun: Collection[str] | None = None,
        evidence: str = "",
        limit: int,
    ) -> Pending[list[str]]:
        """Settle running jobs as crashed: those of `dead` workers or, without, of ended leases.

        Jobs that had not started are returned instead: those of provisional claims, and those of
        dead workers that are not in `begun` (None: unknown, so all had started). `evidence` is what
        is known of how the workers died. Returns the ids of all.
        """
        ...

    def prune(self, retention: Mapping[State, float], *, limit: int) -> Pending[int]:
        """Delete jobs that have been final for longer than their state's retention, in seconds.

        Returns how many. Old tokens and audit lines are deleted as well. Damaged jobs that no
        claim finds are discarded, those of a part of a large store at each call.
        """
        ...

    def beat(self, worker: WorkerInfo) -> Pending[Order]:
        """Record that a worker is alive; returns its order.

        `beat_at` is set by the store.
        """
        ...

    def order(
        self, worker: str, order: Order, *, if_idle: bool = False, reason: str = ""
    ) -> Pending[bool]:
        """Give a worker an order; NotFoundError if it never sent a beat.

        After "quiet" or "drain" its claims return nothing. With `if_idle`, a worker that holds a
        running job, confirmed or not, gets no order and the answer is False; after True it cannot
        have claimed one in between. "drain" is final, because its progress is unknown: another
        order raises InvalidTransitionError.
        """
        ...

    def dismiss(self, worker: str, *, force: bool = False, reason: str = "") -> Pending[Dismissed]:
        """Remove a worker: order it to drain, or forget it at once if silent for `SILENCE`.

        BusyError if it holds running jobs. With `force` they count as crashed and are returned;
        the worker stops their code when it finds that their leases are lost.
        """
        ...

    def leave(self, worker: str) -> Pending[None]:
        """Forget a worker that exited, or that is known to be dead."""
        ...

    def workers(self, *, after: str = "", limit: int = LISTED) -> Pending[Page[WorkerInfo]]:
        """Return the workers that sent a beat, by id: at most `limit` after an id.

        A quiet or draining worker is shown as such even before it has seen the order.
        """
        ...

    def put_tasks(self, tasks: Sequence[TaskDefaults]) -> Pending[None]:
        """Store what an application declares about its tasks; the newest declaration stands."""
        ...


class Store(
    ProducerStore,
    WorkerStore,
    OperatorStore,
    MaintenanceStore,
    AccessStore,
    FileStore,
    InspectionStore,
    ScalerStore,
    ScheduleStore,
    StackStore,
    HistoryStore,
    StoreTraits,
    Protocol,
):
    """Where jobs live."""

    @property
    def url(self) -> str:
        """The address by which another process on this machine reaches the same jobs."""
        ...

    @property
    def secret(self) -> str:
        """What opens it beside its url; never shown or put on a command line. "" if nothing."""
        ...

    @property
    def folder(self) -> str:
        """Where a worker leaves what others on this machine may read; "" if there is nobody."""
        ...

    def now(self) -> float:
        """Return the time by the store's clock, in Unix seconds."""
        ...

    def listen(self, kinds: Sequence[HintKind], listener: Listener) -> Callable[[], None]:
        """Call `listener` for hints, from any thread; returns a function that stops it.

        Hints may be lost, so a listener must also poll, every second or so.
        """
        ...

    def close(self) -> None:
        """Release every resource. Later calls raise UnavailableError. May be called twice."""
        ...
