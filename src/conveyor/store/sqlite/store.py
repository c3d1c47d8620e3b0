"""The SQLite store: one file, any number of processes on one machine."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import parse_qsl

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
from ...core.pending import Pending, ready
from ...core.retry import Draw
from ...errors import UsageError
from ...system.file_threads import FileThreads
from ..blobs.directory import Contents
from ..file_errors import missing_content
from ..messages import (
    Accepted,
    Claimant,
    Content,
    Dismissed,
    Exchanged,
    Filter,
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
from ..protocol_files import UNUSED
from ..sql.operations import (
    admin,
    artifacts,
    autoscale,
    claim,
    enqueue,
    integrity,
    tokens,
    upkeep,
    workers,
)
from ..sql.transaction import Tx
from .connection import Database, Durability
from .notifier import Doorbell
from .writer import Writer

P = ParamSpec("P")
T = TypeVar("T")

NOBODY = Claimant("")
# About how many contents it is asked at once whether anybody needs them.
SOME = 200


class SqliteStore:
    """Jobs in a SQLite file. May be used by any thread, and after a fork by the child too.

    `durability` "full" survives a power cut with every acknowledged call; "normal" may lose the
    last moments before one, and is several times as fast for single calls. `draw` gives the
    randomness of retry jitter.
    """

    is_durable = is_multi_process = is_local = keeps_call_order = True
    is_server = answers_can_be_lost = can_be_partitioned = False
    maintains_itself = records_actions = False
    secret = ""

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Clock | None = None,
        durability: Durability = "full",
        draw: Draw = random.random,
    ) -> None:
        self._path = os.path.abspath(path)
        self._clock = clock or SystemClock()
        self._durability: Durability = durability
        self._draw = draw
        self._lock = threading.Lock()
        self._left_behind: list[object] = []
        self._contents = Contents(self._path + ".files", self._clock.now)
        self._errands = FileThreads()
        self._open()

    @classmethod
    def open(cls, url: str, clock: Clock | None = None) -> SqliteStore:
        """Open the store at a path or "sqlite:///path", with "?durability=full|normal"."""
        address, _, query = url.partition("?")
        path = address.removeprefix("sqlite:")
        if path != address:
            if not path.startswith("///") or path == "///":
                raise UsageError(
                    f"{url!r}: write sqlite:///jobs.db for a file in this folder, or "
                    "sqlite:////var/jobs.db for one from the root"
                )
            path = path.removeprefix("///")
        options = dict(parse_qsl(query, keep_blank_values=True))
        durability = options.pop("durability", "full")
        if durability not in ("full", "normal") or options:
            raise UsageError(f"{url!r}: the one option is durability=full or durability=normal")
        return cls(path, clock=clock, durability="full" if durability == "full" else "normal")

    @property
    def url(self) -> str:
        return f"sqlite:///{self._path}?durability={self._durability}"

    @property
    def folder(self) -> str:
        return self._path + ".workers"

    def now(self) -> float:
        return self._clock.now()

    def listen(self, kinds: Sequence[HintKind], listener: Listener) -> Callable[[], None]:
        return self._here()[1].listen(kinds, listener)

    def close(self) -> None:
        self._writer.close()
        self._bell.close()

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
        if not any(job.options.files for job in jobs):
            return self._do(insert, jobs, capacity=capacity, when_full=when_full)

        def insert_with_files() -> Accepted | Offered:
            self._contents.need_inputs(jobs)
            return self._do(insert, jobs, capacity=capacity, when_full=when_full).result()

        return self._errands.run(insert_with_files)

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
        return self._look(admin.get, job_id)

    def find(self, which: Filter, *, limit: int) -> Pending[list[JobRecord]]:
        return self._look(admin.find, which, limit=limit)

    def history(self, job_id: str) -> Pending[list[AttemptError]]:
        return self._look(admin.history, job_id)

    def output(self, job_id: str, *, after: int = 0, limit: int) -> Pending[list[OutputChunk]]:
        return self._look(admin.output, job_id, after=after, limit=limit)

    def counts(self) -> Pending[list[QueueInfo]]:
        return self._look(admin.counts)

    def ahead(self, job_id: str) -> Pending[int]:
        return self._look(admin.ahead, job_id)

    def offered(self, job_id: str) -> Pending[QueueInfo | None]:
        return self._look(admin.offered, job_id)

    def check(self) -> Pending[list[str]]:
        return self._look(integrity.check)

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
        return self._look(workers.workers)

    def put_schedule(self, schedule: ScheduleInfo) -> Pending[ScheduleInfo]:
        return self._do(upkeep.put_schedule, schedule)

    def schedules(self) -> Pending[list[ScheduleInfo]]:
        return self._look(upkeep.schedules)

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
        return self._look(tokens.token, token_id)

    def tokens(self, *, after: str = "", limit: int) -> Pending[list[Token]]:
        return self._look(tokens.tokens, after=after, limit=limit)

    def revoke_token(self, token_id: str) -> Pending[Token]:
        return self._do(tokens.revoke_token, token_id)

    def note_action(self, actions: Sequence[Action]) -> Pending[None]:
        return self._do(tokens.note_action, actions)

    def actions(self, *, before: int | None = None, limit: int) -> Pending[list[Action]]:
        return self._look(tokens.actions, before=before, limit=limit)

    # -- files ---------------------------------------------------------------------------------

    def content(self, digest: str) -> Pending[Content]:
        return self._errands.run(lambda: self._contents.look(digest))

    def write_content(
        self, digest: str, offset: int, data: bytes, *, last: bool
    ) -> Pending[Content]:
        return self._errands.run(lambda: self._contents.write(digest, offset, data, last=last))

    def read_content(self, digest: str, offset: int, limit: int) -> Pending[bytes]:
        return self._errands.run(lambda: self._contents.read(digest, offset, limit))

    def attach(self, lease: Lease, file: FileInfo) -> Pending[bool]:
        def attach() -> bool:
            if self._contents.look(file.digest) != Content(file.size, whole=True):
                raise UsageError(missing_content(file.digest))
            return self._do(artifacts.attach, lease, file).result()

        return self._errands.run(attach)

    def files(self, job_id: str) -> Pending[list[FileInfo]]:
        return self._look(artifacts.files, job_id)

    def sweep_contents(self, *, limit: int) -> Pending[int]:
        return self._errands.run(lambda: self._sweep(limit))

    # -- scaling -------------------------------------------------------------------------------

    def load(self, *, limit: int) -> Pending[list[Load]]:
        return self._look(autoscale.load, limit=limit)

    def lead(
        self, name: str, holder: str, *, hold: float, note: str | None = None
    ) -> Pending[Leader]:
        return self._do(autoscale.lead, name, holder, hold=hold, note=note)

    def leader(self, name: str) -> Pending[Leader | None]:
        return self._look(autoscale.leader, name)

    # -- how -----------------------------------------------------------------------------------

    def _open(self) -> None:
        db = Database(self._path, self._durability)
        self._bell = Doorbell(self._path)
        self._writer = Writer(db, self._clock, self._bell.ring, self._draw)

    def _sweep(self, limit: int) -> int:
        moment = self.now() - UNUSED
        removed = 0
        digests = self._contents.unused_since(moment)
        for start in range(0, len(digests), SOME):
            some = digests[start : start + SOME]
            needed = frozenset(self._look(artifacts.needed, some).result())
            for digest in some:
                if digest in needed:
                    self._contents.look(digest)  # so that it is not asked about again for an hour
                elif removed < limit:
                    removed += self._contents.remove(digest, moment)
        return removed

    def _here(self) -> tuple[Writer, Doorbell]:
        if self._writer.pid != os.getpid():
            with self._lock:
                if self._writer.pid != os.getpid():
                    # We are a forked child. The parent's connection must never be used or even
                    # closed here: that would drop the parent's locks. It is kept, untouched.
                    self._left_behind += [self._writer, self._bell]
                    self._open()
        return self._writer, self._bell

    def _do(
        self,
        operation: Callable[Concatenate[Tx, P], Coroutine[Any, Any, T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Pending[T]:
        return self._here()[0].submit(lambda tx: operation(tx, *args, **kwargs), reads=False)

    def _look(
        self,
        operation: Callable[Concatenate[Tx, P], Coroutine[Any, Any, T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Pending[T]:
        return self._here()[0].submit(lambda tx: operation(tx, *args, **kwargs), reads=True)
