"""A store made of operations: every method of the store protocol, forwarded once.

An operation is a function of a backend, named like the method of the protocol that it carries out.
The memory store and the SQL stores differ in what an operation is given (`Data` or a transaction)
and in how it is run; what they offer and under which signature is declared here, and only here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, ModuleType
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from ..core.files import FileInfo
from ..core.history import QueueHistory, QueueMinute
from ..core.job import JobRecord, NewJob, WhenFull
from ..core.overview import Overview
from ..core.page import Page
from ..core.pending import Pending, ready
from ..core.storable import check_jobs
from ..errors import UsageError
from .blobs.protocol import BlobStore, check_inputs
from .file_errors import missing_content
from .history_reader import read_history
from .messages import Accepted, Content, Lease, Offered
from .overview_reader import OverviewReader
from .protocol import Store
from .protocol_files import UNUSED

P = ParamSpec("P")
T = TypeVar("T")

Operation = Callable[..., Any]

# The operations whose `reason` is only for the audit log. A server writes that, not the operation.
REASON_FOR_AUDIT = frozenset(
    {"retry", "delete", "set_capacity", "run_schedule", "remove_schedule", "order", "dismiss"}
)
# How many contents are looked up in one transaction of a sweep.
SWEPT_AT_ONCE = 200


def operation(
    declared: Callable[Concatenate[Store, P], Pending[T]], *, reads: bool = False
) -> Callable[Concatenate[OperationStore, P], Pending[T]]:
    """Return a method that runs the operation of the same name as a method of the protocol.

    The method has the signature that the protocol declares. `reads`: the operation changes nothing.
    """
    name = declared.__name__
    drops = {"reason"} if name in REASON_FOR_AUDIT else frozenset[str]()

    def run(self: OperationStore, /, *args: P.args, **kwargs: P.kwargs) -> Pending[T]:
        given: Mapping[str, object] = kwargs
        if drops:
            given = {each: value for each, value in kwargs.items() if each not in drops}
        answer: Pending[T] = self._run(name, args, given, reads=reads)
        return answer

    run.__name__, run.__doc__ = name, declared.__doc__
    return run


def operations_of(*modules: ModuleType) -> dict[str, Operation]:
    """Return the public functions that these modules define, by name."""
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, FunctionType)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }


class OperationStore(ABC):
    """The store protocol over a backend's operations and a store of blobs."""

    is_server = answers_can_be_lost = can_be_partitioned = False
    maintains_itself = records_actions = False
    secret = ""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        # Its subclasses have what a store has beside its operations.
        store = cast("Store", self)
        self._overview = OverviewReader(store, self._read_minutes, self._read_running)

    @abstractmethod
    def now(self) -> float:
        """Return the time by the store's clock, in Unix seconds."""

    @abstractmethod
    def _run(
        self, name: str, args: tuple[object, ...], kwargs: Mapping[str, object], *, reads: bool
    ) -> Pending[Any]:
        """Run one operation in one transaction."""

    @abstractmethod
    def _run_blocking(self, work: Callable[[], T]) -> Pending[T]:
        """Run work that may block on files, where it keeps no event loop waiting."""

    # -- producers -----------------------------------------------------------------------------

    _insert = operation(Store.insert)
    accepted = operation(Store.accepted)
    withdraw = operation(Store.withdraw)

    def insert(
        self,
        jobs: Sequence[NewJob],
        *,
        capacity: int | None = None,
        when_full: WhenFull = "wait",
        again: bool = False,
    ) -> Pending[Accepted | Offered]:
        """Insert the jobs once their input files are known to be complete."""
        for job in jobs:
            if job.options.files:
                break
        else:
            return self._insert(jobs, capacity=capacity, when_full=when_full, again=again)

        def insert_with_files() -> Accepted | Offered:
            check_jobs(jobs)  # before their digests become paths
            check_inputs(self._blobs, jobs)
            return self._insert(jobs, capacity=capacity, when_full=when_full, again=again).result()

        return self._run_blocking(insert_with_files)

    # -- workers -------------------------------------------------------------------------------

    claim = operation(Store.claim)
    settle = operation(Store.settle)
    exchange = operation(Store.exchange)
    extend = operation(Store.extend)
    extend_worker = operation(Store.extend_worker)
    write_output = operation(Store.write_output)
    set_progress = operation(Store.set_progress)
    set_stopping = operation(Store.set_stopping)

    def decline(self, worker: str) -> Pending[None]:
        """Do nothing: a claim is answered at once, so none waits."""
        return ready(None)

    # -- operators -----------------------------------------------------------------------------

    get = operation(Store.get, reads=True)
    find = operation(Store.find, reads=True)
    history = operation(Store.history, reads=True)
    output = operation(Store.output, reads=True)
    counts = operation(Store.counts, reads=True)
    queue_info = operation(Store.queue_info, reads=True)
    ahead = operation(Store.ahead, reads=True)
    offered = operation(Store.offered, reads=True)
    check = operation(Store.check, reads=True)
    cancel = operation(Store.cancel)
    retry = operation(Store.retry)
    delete = operation(Store.delete)
    set_paused = operation(Store.set_paused)

    # -- inspection ----------------------------------------------------------------------------

    attempts = operation(Store.attempts, reads=True)
    job_counts = operation(Store.job_counts, reads=True)
    match = operation(Store.match, reads=True)
    act = operation(Store.act)
    failures = operation(Store.failures, reads=True)
    failure = operation(Store.failure, reads=True)
    set_capacity = operation(Store.set_capacity)
    run_schedule = operation(Store.run_schedule)
    recent_jobs = operation(Store.recent_jobs, reads=True)
    # -- history -------------------------------------------------------------------------------

    add_mark = operation(Store.add_mark)
    marks = operation(Store.marks, reads=True)

    def queue_history(
        self,
        queue: str | None = None,
        *,
        since: float | None = None,
        until: float | None = None,
        step: float = 60.0,
    ) -> Pending[QueueHistory]:
        """Put the history together from its minutes."""

        def read() -> QueueHistory:
            if queue is not None:
                self.queue_info(queue).result()
            now = self.now()
            return read_history(
                self._read_minutes, queue, since=since, until=until, step=step, now=now
            )

        return self._run_blocking(read)

    def overview(self, *, minutes: int = 60, queues: int = 50) -> Pending[Overview]:
        """Look at the store, unless somebody did so a moment ago."""
        return self._run_blocking(lambda: self._overview.read(minutes, queues))

    def _read_minutes(
        self,
        first: int,
        last: int,
        *,
        queue: str | None = None,
        after: tuple[int, str] | None = None,
        limit: int,
    ) -> Pending[Page[QueueMinute]]:
        given = {"queue": queue, "after": after, "limit": limit}
        return self._run("minutes", (first, last), given, reads=True)

    def _read_running(self, *, limit: int, stopping: bool = False) -> Pending[list[JobRecord]]:
        given = {"limit": limit, "stopping": stopping}
        return self._run("longest_running", (), given, reads=True)

    # -- maintenance ---------------------------------------------------------------------------

    stage = operation(Store.stage)
    rescue = operation(Store.rescue)
    prune = operation(Store.prune)
    beat = operation(Store.beat)
    order = operation(Store.order)
    dismiss = operation(Store.dismiss)
    leave = operation(Store.leave)
    workers = operation(Store.workers, reads=True)
    put_tasks = operation(Store.put_tasks)
    task_defaults = operation(Store.task_defaults, reads=True)
    put_schedule = operation(Store.put_schedule)
    schedules = operation(Store.schedules, reads=True)
    pause_schedule = operation(Store.pause_schedule)
    remove_schedule = operation(Store.remove_schedule)
    tick = operation(Store.tick)

    # -- access --------------------------------------------------------------------------------

    add_token = operation(Store.add_token)
    token = operation(Store.token, reads=True)
    tokens = operation(Store.tokens, reads=True)
    revoke_token = operation(Store.revoke_token)
    note_action = operation(Store.note_action)
    actions = operation(Store.actions, reads=True)

    # -- scaling -------------------------------------------------------------------------------

    load = operation(Store.load, reads=True)
    lead = operation(Store.lead)
    leader = operation(Store.leader, reads=True)

    # -- stacks --------------------------------------------------------------------------------

    request_stack = operation(Store.request_stack)
    stack_requests = operation(Store.stack_requests, reads=True)
    put_stack = operation(Store.put_stack)
    stack = operation(Store.stack, reads=True)

    # -- files ---------------------------------------------------------------------------------

    _attach = operation(Store.attach)
    files = operation(Store.files, reads=True)

    def attach(self, lease: Lease, file: FileInfo) -> Pending[bool]:
        """Record an artifact once its content is known to be complete."""

        def attach() -> bool:
            if self._blobs.look(file.digest) != Content(file.size, whole=True):
                raise UsageError(missing_content(file.digest))
            return self._attach(lease, file).result()

        return self._run_blocking(attach)

    def content(self, digest: str) -> Pending[Content]:
        """Return how much of a content is stored."""
        return self._run_blocking(lambda: self._blobs.look(digest))

    def write_content(
        self, digest: str, offset: int, data: bytes, *, last: bool
    ) -> Pending[Content]:
        """Append a piece of a content."""
        return self._run_blocking(lambda: self._blobs.write(digest, offset, data, last=last))

    def read_content(self, digest: str, offset: int, limit: int) -> Pending[bytes]:
        """Return a piece of a complete content."""
        return self._run_blocking(lambda: self._blobs.read(digest, offset, limit))

    def sweep_contents(self, *, limit: int) -> Pending[int]:
        """Remove contents that no job refers to."""
        return self._run_blocking(lambda: self._sweep(limit))

    def _needed(self, digests: Sequence[str]) -> Pending[list[str]]:
        return self._run("needed", (digests,), {}, reads=True)

    def _sweep(self, limit: int) -> int:
        moment = self.now() - UNUSED
        removed = 0
        digests = self._blobs.unused_since(moment)
        for start in range(0, len(digests), SWEPT_AT_ONCE):
            some = digests[start : start + SWEPT_AT_ONCE]
            needed = frozenset(self._needed(some).result())
            for digest in some:
                if digest in needed:
                    self._blobs.look(digest)  # a use: it is not looked up again for an hour
                elif removed < limit:
                    removed += self._blobs.remove(digest, moment)
        return removed
