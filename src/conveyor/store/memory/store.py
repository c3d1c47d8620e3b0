"""The memory store: jobs that live and end with the process. It is the specification.

What every other store must do can be read here, in five files like the SQL stores' operations/; the
conformance suite and the model test hold the others to it. It is meant for production too, within
one process: any thread and any event loop may call.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Concatenate, ParamSpec, TypeVar

from ...core.access import Action, Token
from ...core.clock import Clock, SystemClock
from ...core.files import FileInfo
from ...core.job import (
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
from ...core.pending import Pending, failed, ready
from ...core.retry import Draw
from ...errors import UnavailableError
from ..messages import (
    Accepted,
    Claimant,
    Content,
    Dismissed,
    Exchanged,
    Filter,
    Hint,
    HintKind,
    Leader,
    Lease,
    Listener,
    Load,
    Offered,
    Order,
    Renewal,
    Report,
    Staged,
    Want,
)
from . import admin, artifacts, autoscale, blobs, claim, enqueue, tokens, upkeep, workers
from .data import Memory

P = ParamSpec("P")
T = TypeVar("T")

NOBODY = Claimant("")


class MemoryStore:
    """Jobs in the memory of this process. `draw` gives the randomness of retry jitter."""

    is_local = keeps_call_order = True
    is_durable = is_multi_process = is_server = False
    answers_can_be_lost = can_be_partitioned = maintains_itself = records_actions = False
    secret = ""
    folder = ""
    url = "memory:"

    def __init__(self, clock: Clock | None = None, draw: Draw = random.random) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._memory = Memory(draw)
        self._listeners: dict[int, tuple[frozenset[HintKind], Listener]] = {}
        self._closed = False

    def now(self) -> float:
        return self._clock.now()

    # -- producers -----------------------------------------------------------------------------

    def insert(
        self,
        jobs: Sequence[NewJob],
        *,
        capacity: int | None = None,
        when_full: WhenFull = "wait",
        again: bool = False,
    ) -> Pending[Accepted | Offered]:
        insert = enqueue.insert_again if again else enqueue.insert
        return self._do(insert, jobs, capacity=capacity, when_full=when_full)

    def accepted(self, offer: str) -> Pending[Accepted | None]:
        return self._do(enqueue.accepted, offer)

    def withdraw(self, offer: str) -> Pending[Accepted | None]:
        return self._do(enqueue.withdraw, offer)

    # -- workers -------------------------------------------------------------------------------

    def claim(self, wants: Sequence[Want], who: Claimant, *, limit: int) -> Pending[Exchanged]:
        return self._do(claim.exchange, (), wants, who, limit)

    def settle(self, reports: Sequence[Report]) -> Pending[Exchanged]:
        return self._do(claim.exchange, reports, (), NOBODY, 0)

    def exchange(
        self, reports: Sequence[Report], wants: Sequence[Want], who: Claimant, *, limit: int
    ) -> Pending[Exchanged]:
        return self._do(claim.exchange, reports, wants, who, limit)

    def extend(self, leases: Sequence[Lease], *, lease_for: float) -> Pending[list[Renewal]]:
        return self._do(claim.extend, leases, lease_for=lease_for)

    def extend_worker(self, worker: str, *, lease_for: float) -> Pending[int]:
        return self._do(claim.extend_worker, worker, lease_for=lease_for)

    def write_output(self, chunks: Sequence[OutputChunk]) -> Pending[list[Renewal]]:
        return self._do(claim.write_output, chunks)

    def set_progress(self, reports: Sequence[tuple[Lease, Progress]]) -> Pending[list[Renewal]]:
        return self._do(claim.set_progress, reports)

    def set_stopping(
        self, reports: Sequence[tuple[Lease, Sequence[StopNote]]]
    ) -> Pending[list[Renewal]]:
        return self._do(claim.set_stopping, reports)

    def decline(self, worker: str) -> Pending[None]:
        return ready(None)  # nobody waits here: a claim answers at once

    # -- operators -----------------------------------------------------------------------------

    def get(self, job_id: str) -> Pending[JobRecord]:
        return self._do(admin.get, job_id)

    def find(self, which: Filter, *, limit: int) -> Pending[list[JobRecord]]:
        return self._do(admin.find, which, limit=limit)

    def history(self, job_id: str) -> Pending[list[AttemptError]]:
        return self._do(admin.history, job_id)

    def output(self, job_id: str, *, after: int = 0, limit: int) -> Pending[list[OutputChunk]]:
        return self._do(admin.output, job_id, after=after, limit=limit)

    def counts(self) -> Pending[list[QueueInfo]]:
        return self._do(admin.counts)

    def ahead(self, job_id: str) -> Pending[int]:
        return self._do(admin.ahead, job_id)

    def offered(self, job_id: str) -> Pending[QueueInfo | None]:
        return self._do(admin.offered, job_id)

    def check(self) -> Pending[list[str]]:
        return self._do(admin.check)

    def cancel(self, job_id: str, *, reason: str, force: bool = False) -> Pending[JobRecord]:
        return self._do(admin.cancel, job_id, reason=reason, force=force)

    def retry(self, job_id: str) -> Pending[JobRecord]:
        return self._do(admin.retry, job_id)

    def delete(self, job_id: str) -> Pending[None]:
        return self._do(admin.delete, job_id)

    def set_paused(self, queue: str, *, paused: bool) -> Pending[None]:
        return self._do(admin.set_paused, queue, paused=paused)

    # -- upkeep --------------------------------------------------------------------------------

    def stage(self, *, limit: int) -> Pending[Staged]:
        return self._do(upkeep.stage, limit=limit)

    def rescue(
        self,
        *,
        dead: Sequence[str] = (),
        begun: Collection[str] | None = None,
        evidence: str = "",
        limit: int,
    ) -> Pending[list[str]]:
        return self._do(upkeep.rescue, dead=dead, begun=begun, evidence=evidence, limit=limit)

    def prune(self, retention: Mapping[State, float], *, limit: int) -> Pending[int]:
        return self._do(upkeep.prune, retention, limit=limit)

    def beat(self, worker: WorkerInfo) -> Pending[Order]:
        return self._do(workers.beat, worker)

    def order(self, worker: str, order: Order, *, if_idle: bool = False) -> Pending[bool]:
        return self._do(workers.order, worker, order, if_idle=if_idle)

    def dismiss(self, worker: str, *, force: bool = False) -> Pending[Dismissed]:
        return self._do(workers.dismiss, worker, force=force)

    def leave(self, worker: str) -> Pending[None]:
        return self._do(workers.leave, worker)

    def workers(self) -> Pending[list[WorkerInfo]]:
        return self._do(workers.workers)

    def put_schedule(self, schedule: ScheduleInfo) -> Pending[ScheduleInfo]:
        return self._do(upkeep.put_schedule, schedule)

    def schedules(self) -> Pending[list[ScheduleInfo]]:
        return self._do(upkeep.schedules)

    def pause_schedule(self, name: str, *, paused: bool) -> Pending[None]:
        return self._do(upkeep.pause_schedule, name, paused=paused)

    def tick(
        self, name: str, *, due_at: float, next_at: float, jobs: Sequence[NewJob]
    ) -> Pending[bool]:
        return self._do(upkeep.tick, name, due_at=due_at, next_at=next_at, jobs=jobs)

    # -- access --------------------------------------------------------------------------------

    def add_token(self, token: Token) -> Pending[None]:
        return self._do(tokens.add_token, token)

    def token(self, token_id: str) -> Pending[Token]:
        return self._do(tokens.token, token_id)

    def tokens(self, *, after: str = "", limit: int) -> Pending[list[Token]]:
        return self._do(tokens.tokens, after=after, limit=limit)

    def revoke_token(self, token_id: str) -> Pending[Token]:
        return self._do(tokens.revoke_token, token_id)

    def note_action(self, actions: Sequence[Action]) -> Pending[None]:
        return self._do(tokens.note_action, actions)

    def actions(self, *, before: int | None = None, limit: int) -> Pending[list[Action]]:
        return self._do(tokens.actions, before=before, limit=limit)

    # -- files ---------------------------------------------------------------------------------

    def content(self, digest: str) -> Pending[Content]:
        return self._do(blobs.content, digest)

    def write_content(
        self, digest: str, offset: int, data: bytes, *, last: bool
    ) -> Pending[Content]:
        return self._do(blobs.write_content, digest, offset, data, last=last)

    def read_content(self, digest: str, offset: int, limit: int) -> Pending[bytes]:
        return self._do(blobs.read_content, digest, offset, limit)

    def attach(self, lease: Lease, file: FileInfo) -> Pending[bool]:
        return self._do(artifacts.attach, lease, file)

    def files(self, job_id: str) -> Pending[list[FileInfo]]:
        return self._do(artifacts.files, job_id)

    def sweep_contents(self, *, limit: int) -> Pending[int]:
        return self._do(blobs.sweep_contents, limit=limit)

    # -- scaling -------------------------------------------------------------------------------

    def load(self, *, limit: int) -> Pending[list[Load]]:
        return self._do(autoscale.load, limit=limit)

    def lead(
        self, name: str, holder: str, *, hold: float, note: str | None = None
    ) -> Pending[Leader]:
        return self._do(autoscale.lead, name, holder, hold=hold, note=note)

    def leader(self, name: str) -> Pending[Leader | None]:
        return self._do(autoscale.leader, name)

    # -- the store itself ----------------------------------------------------------------------

    def listen(self, kinds: Sequence[HintKind], listener: Listener) -> Callable[[], None]:
        number = object()
        with self._lock:
            self._listeners[id(number)] = frozenset(kinds), listener

        def stop() -> None:
            with self._lock:
                self._listeners.pop(id(number), None)

        return stop

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._listeners.clear()

    def _do(
        self,
        operation: Callable[Concatenate[Memory, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Pending[T]:
        memory = self._memory
        with self._lock:
            if self._closed:
                return failed(UnavailableError("the memory store was closed"))
            memory.now = self._clock.now()
            try:
                answer = ready(operation(memory, *args, **kwargs))
            except Exception as error:  # noqa: BLE001 - errors are answers too
                return failed(error)
            if not memory.heard:
                return answer
            heard, memory.heard = memory.heard, {}
            listeners = list(self._listeners.values())
        # Outside the lock, so that a listener may call the store.
        for kind, subjects in heard.items():
            for kinds, listener in listeners:
                if kind in kinds:
                    listener(Hint(kind, tuple(subjects)))
        return answer
