"""What a store must be able to do, split by who asks for it.

Every method answers with a `Pending`: blocking code calls `.result()` on it, async code awaits it.
A call is one transaction: it happens wholly or not at all, and in the order of the calls. Times are
judged by the store's own clock. Anything that is not found raises `NotFoundError`; a store that
cannot be reached raises `UnavailableError`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from ..core.job import (
    AttemptError,
    JobRecord,
    NewJob,
    OutputChunk,
    Progress,
    QueueInfo,
    ScheduleInfo,
    State,
    StopNote,
    WhenFull,
    WorkerInfo,
)
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
from .protocol_traits import StoreTraits


class ProducerStore(Protocol):
    """What a program that enqueues needs."""

    def insert(
        self,
        jobs: Sequence[NewJob],
        *,
        capacity: int | None = None,
        when_full: WhenFull = "wait",
        again: bool = False,
    ) -> Pending[Accepted | Offered]:
        """Take the jobs, all of one queue, or none of them.

        Raises QueueFullError when the queue is full and `when_full` is "refuse", when dropping the
        oldest available jobs would not make room, and whenever the jobs could never fit.
        `when_full="wait"` answers with an offer instead; at capacity 0 every policy does.

        `again`: the same may have been sent before, and its answer lost. If any of the jobs is in
        the store, or waits in an offer, nothing is taken in and the answer is as it was. For a job
        that its key kept out that is the key's holder now, or its own id if there is none. Where
        all were kept out there is no trace of it, and it is as if it had never been sent.
        """
        ...

    def accepted(self, offer: str) -> Pending[Accepted | None]:
        """Return what became of an offer, once; None while it waits. Keeps it alive.

        NotFoundError when the offer is unknown: collected, withdrawn, or dropped for silence.
        """
        ...

    def withdraw(self, offer: str) -> Pending[Accepted | None]:
        """Take an offer back. Returns None when it is gone, and the answer if it came too late."""
        ...


class WorkerStore(Protocol):
    """What a worker needs. Every write-back names its lease; a stale one changes nothing."""

    def claim(self, wants: Sequence[Want], who: Claimant, *, limit: int) -> Pending[Exchanged]:
        """Lease at most `limit` available jobs, looking at the wants in their order.

        Within a queue: higher priority first, then the longer due, then the earlier accepted. A
        job is only given to a claimant that has every label in its `requires`; with a label
        "!only" (say "gpu!only") a claimant takes only jobs that ask for that label. Paused queues
        give nothing, and a worker that is to be quiet or to drain is given nothing. A job past its
        `expires_at` is discarded instead.

        With `confirm_within` the claim is provisional: the job is running, but it has not started
        until the lease is extended for the first time. Without that the lease ends soon, and the
        job is given back as if it had never been claimed.
        """
        ...

    def decline(self, worker: str) -> Pending[None]:
        """Take no more jobs for this worker.

        One that a store over a network is still waiting for on its behalf is given back.
        """
        ...

    def settle(self, reports: Sequence[Report]) -> Pending[Exchanged]:
        """Write back how attempts ended. `lifecycle.settle` decides; each attempt that did not
        succeed goes into the job's history (an interrupted or snoozed one does not).
        """
        ...

    def exchange(
        self, reports: Sequence[Report], wants: Sequence[Want], who: Claimant, *, limit: int
    ) -> Pending[Exchanged]:
        """Settle one batch and claim the next in one transaction."""
        ...

    def extend(self, leases: Sequence[Lease], *, lease_for: float) -> Pending[list[Renewal]]:
        """Renew leases for `lease_for` seconds from now; one verdict each, in the same order.

        The first renewal of a provisional claim confirms it.
        """
        ...

    def extend_worker(self, worker: str, *, lease_for: float) -> Pending[int]:
        """Renew every lease a worker holds; returns how many. For a keeper in another process.

        What the worker has not confirmed is left as it is: it may not know of it.
        """
        ...

    def write_output(self, chunks: Sequence[OutputChunk]) -> Pending[list[Renewal]]:
        """Append captured output; one verdict for each lease, in the order in which they come.

        Under a lease that is lost nothing is kept. A chunk that is already there (same job, lease
        and offset) is ignored.
        """
        ...

    def set_progress(self, reports: Sequence[tuple[Lease, Progress]]) -> Pending[list[Renewal]]:
        """Note how far jobs are; one verdict each, in the same order."""
        ...

    def set_stopping(
        self, reports: Sequence[tuple[Lease, Sequence[StopNote]]]
    ) -> Pending[list[Renewal]]:
        """Note all that was done to stop jobs; one verdict each, in the same order.

        It stays on the job when it has ended, until a later attempt begins.
        """
        ...


class OperatorStore(Protocol):
    """What somebody who looks after the queues needs."""

    def get(self, job_id: str) -> Pending[JobRecord]:
        """Return the job as it stands."""
        ...

    def find(self, which: Filter, *, limit: int) -> Pending[list[JobRecord]]:
        """Return at most `limit` jobs, newest first."""
        ...

    def history(self, job_id: str) -> Pending[list[AttemptError]]:
        """Return every attempt of the job that did not succeed, oldest first (at most 1,000)."""
        ...

    def output(self, job_id: str, *, after: int = 0, limit: int) -> Pending[list[OutputChunk]]:
        """Return at most `limit` chunks of captured output whose `seq` is above `after`."""
        ...

    def counts(self) -> Pending[list[QueueInfo]]:
        """Return every queue that was ever used, by name."""
        ...

    def ahead(self, job_id: str) -> Pending[int]:
        """Return how many available jobs of the same queue would be claimed before this one."""
        ...

    def offered(self, job_id: str) -> Pending[QueueInfo | None]:
        """Return the queue at which a producer still offers this job; None if nobody does."""
        ...

    def check(self) -> Pending[list[str]]:
        """Look at everything that is stored; returns what is wrong, in words (at most 100)."""
        ...

    def cancel(self, job_id: str, *, reason: str, force: bool = False) -> Pending[JobRecord]:
        """Cancel a waiting job at once; ask the owner of a running one to stop it.

        `force` asks it not to wait for the job's grace; it may follow a request without. The
        first reason stays.
        """
        ...

    def retry(self, job_id: str) -> Pending[JobRecord]:
        """Make an ended or delayed job available again with all its retries; keeps its history."""
        ...

    def delete(self, job_id: str) -> Pending[None]:
        """Forget a job that is final, with its output and history."""
        ...

    def set_paused(self, queue: str, *, paused: bool) -> Pending[None]:
        """Stop or resume handing out a queue's jobs. Enqueueing goes on."""
        ...


class UpkeepStore(Protocol):
    """What keeps the queues tidy. Any number of workers may do it at once."""

    def stage(self, *, limit: int) -> Pending[Staged]:
        """Make due scheduled and retryable jobs available; discard waiting ones that expired;
        drop offers whose producers went silent.
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
        """Settle running jobs as crashed whose lease ended or whose worker is in `dead`.

        Those of provisional claims that were never confirmed are only given back, and so are those
        of dead workers that are not in `begun`; None means that it is not known which were begun.
        `evidence` is what is known of how they died. Returns the ids of all.
        """
        ...

    def prune(self, retention: Mapping[State, float], *, limit: int) -> Pending[int]:
        """Delete jobs that have been final for longer than their state's retention, in seconds.

        Returns how many. Forgets tokens and lines of the audit too, once they are old.
        """
        ...

    def beat(self, worker: WorkerInfo) -> Pending[Order]:
        """Note that a worker is there; returns what it is to do.

        `beat_at` is set by the store.
        """
        ...

    def order(self, worker: str, order: Order, *, if_idle: bool = False) -> Pending[bool]:
        """Tell a worker what to do; NotFoundError if it was not heard of.

        "quiet" and "drain": from then on its claims give it nothing. With `if_idle` nothing
        changes, and the answer is False, if it holds a running job, confirmed or not; so after
        True it cannot have been given one meanwhile. "drain" is final, as nobody can know how far
        the worker has got with it: another order raises InvalidTransitionError.
        """
        ...

    def dismiss(self, worker: str, *, force: bool = False) -> Pending[Dismissed]:
        """Have a worker go: it is to drain, or is forgotten at once if silent for `SILENCE`.

        One that holds running jobs raises BusyError, unless forced: then they are given back
        as crashed, and their code ends where it hears that its lease is gone.
        """
        ...

    def leave(self, worker: str) -> Pending[None]:
        """Forget a worker that ended in good order, or one that is known to be dead."""
        ...

    def workers(self) -> Pending[list[WorkerInfo]]:
        """Return the workers that were heard of, by id.

        One that was told to be quiet or to drain is shown so, whether it has heard of it or not.
        """
        ...

    def put_schedule(self, schedule: ScheduleInfo) -> Pending[ScheduleInfo]:
        """Add a schedule or change its rule; an unchanged rule keeps its ticks and its pause.

        Returns it as it now stands in the store.
        """
        ...

    def schedules(self) -> Pending[list[ScheduleInfo]]:
        """Return the schedules, by name."""
        ...

    def pause_schedule(self, name: str, *, paused: bool) -> Pending[None]:
        """Stop or resume a schedule."""
        ...

    def tick(
        self, name: str, *, due_at: float, next_at: float, jobs: Sequence[NewJob]
    ) -> Pending[bool]:
        """Enqueue what is due and move the schedule on, if its `next_at` still is `due_at`.

        Returns False when somebody else was first. The queue's bound does not hold here: a tick
        has no producer that could wait.
        """
        ...


class Store(
    ProducerStore,
    WorkerStore,
    OperatorStore,
    UpkeepStore,
    AccessStore,
    FileStore,
    ScalerStore,
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
        """Call `listener`, from any thread, when something happened; returns how to stop that.

        Hints may be lost, so whoever listens also looks by itself every second or so.
        """
        ...

    def close(self) -> None:
        """Let go of every resource. Later calls raise UnavailableError. May be called twice."""
        ...
