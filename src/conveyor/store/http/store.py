"""The HTTP store: its jobs are in the store of a Conveyor server; see server/."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ...core import bounds, storable
from ...core.access import Action, Token
from ...core.clock import Clock
from ...core.files import FileInfo
from ...core.job import (
    JobRecord,
    NewJob,
    OutputChunk,
    Progress,
    QueueInfo,
    ScheduleInfo,
    State,
    StopNote,
    TaskDefaults,
    WhenFull,
    WorkerInfo,
)
from ...core.page import LISTED, Page
from ...core.pending import Pending
from ..messages import (
    NO_DISCARDS,
    Accepted,
    Claimant,
    Content,
    Dismissed,
    Exchanged,
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
from . import list_queries, payloads
from .api import STORE_CALLS, TERMS
from .blocking_client import BlockingClient
from .client import HttpClient, checked_server_url, checked_token, tls_context
from .hint_stream import HintStream
from .history_calls import HttpHistory
from .idempotency import send_cancel, send_insert
from .inspection_calls import InspectionCalls
from .long_poll import LongPolls
from .stack_calls import StackCalls
from .wire import checked_files, decode_job, encode_new_job

CLOCK_MAX_AGE = 300.0  # seconds after which the offset to the server's clock is measured again


class HttpStore(InspectionCalls, StackCalls, HttpHistory):
    """The store of a Conveyor server. Thread-safe, and usable in a child process after a fork.

    `url` is the server's address, `token` authenticates the calls. `ca_file` has CA certificates to
    trust, in PEM format, instead of the system's. `clock` replaces the server's in tests.
    """

    is_durable = is_multi_process = is_server = True
    answers_can_be_lost = can_be_partitioned = maintains_itself = records_actions = True
    is_local = keeps_call_order = False
    folder, discards = "", NO_DISCARDS

    def __init__(
        self, url: str, *, token: str = "", ca_file: str = "", clock: Clock | None = None
    ) -> None:
        self._url = checked_server_url(url)
        self.secret = checked_token(token)
        self._clock = clock
        self._tls = tls_context(ca_file) if ca_file else None
        self._terms: tuple[float, payloads.ServerTerms] | None = None
        self._open()

    @property
    def url(self) -> str:
        return self._url

    def now(self) -> float:
        if self._clock is not None:
            return self._clock.now()
        if self._terms is None or time.monotonic() - self._terms[0] > CLOCK_MAX_AGE:
            self.terms().result()
        assert self._terms is not None, "set by `terms`"
        measured_at, terms = self._terms
        return terms.now + time.monotonic() - measured_at

    def terms(self, *, repeats: bool = True) -> Pending[payloads.ServerTerms]:
        """Request the server's version, time and terms for agents; once, without `repeats`."""
        return self._open_client().submit(self._request_terms(repeats=repeats))

    def listen(self, kinds: Sequence[HintKind], listener: Listener) -> Callable[[], None]:
        self._open_client()
        return self._hints.listen(kinds, listener)

    def close(self) -> None:
        self._client.close()
        self._blocking.close()

    def insert(
        self,
        jobs: Sequence[NewJob],
        *,
        capacity: int | None = None,
        when_full: WhenFull = "wait",
        again: bool = False,
    ) -> Pending[Accepted | Offered]:
        # JSON would turn what is not finite into null.
        storable.check_jobs(jobs)
        body = payloads.InsertBody(
            jobs=list(map(encode_new_job, jobs)),
            capacity=capacity,
            when_full=when_full,
            again=again,
        )
        queue = jobs[0].queue if jobs else "default"
        return send_insert(self._open_client(), self._blocking, queue, body)

    def task_defaults(self, task: str) -> Pending[TaskDefaults | None]:
        return self._call("task_defaults", {"task": task})

    def accepted(self, offer: str) -> Pending[Accepted | None]:
        return self._call("accepted", {"offer": offer}, decode=lambda answer: answer.accepted)

    def withdraw(self, offer: str) -> Pending[Accepted | None]:
        return self._call("withdraw", {"offer": offer}, decode=lambda answer: answer.accepted)

    def claim(self, wants: Sequence[Want], claimant: Claimant, *, limit: int) -> Pending[Exchanged]:
        return self.exchange((), wants, claimant, limit=limit)

    def settle(self, reports: Sequence[Report]) -> Pending[Exchanged]:
        return self.exchange(reports, (), Claimant(""), limit=0)

    def exchange(
        self, reports: Sequence[Report], wants: Sequence[Want], claimant: Claimant, *, limit: int
    ) -> Pending[Exchanged]:
        return self._open_client().submit(self._polls.exchange(reports, wants, claimant, limit))

    def decline(self, worker: str) -> Pending[None]:
        return self._open_client().submit(self._polls.decline(worker))

    def extend(self, leases: Sequence[Lease], *, lease_for: float) -> Pending[list[Renewal]]:
        body = payloads.ExtendBody(leases=list(leases), lease_for=lease_for)
        return self._call("extend", body=body)

    def extend_worker(self, worker: str, *, lease_for: float) -> Pending[int]:
        path = {"worker": worker}
        return self._call("extend_worker", path, payloads.ExtendWorkerBody(lease_for=lease_for))

    def write_output(self, chunks: Sequence[OutputChunk]) -> Pending[list[Renewal]]:
        return self._call("write_output", body=payloads.WriteOutputBody(chunks=list(chunks)))

    def set_progress(self, reports: Sequence[tuple[Lease, Progress]]) -> Pending[list[Renewal]]:
        body = payloads.SetProgressBody(reports=storable.checked_progress(reports))
        return self._call("set_progress", body=body)

    def set_stopping(
        self, reports: Sequence[tuple[Lease, Sequence[StopNote]]]
    ) -> Pending[list[Renewal]]:
        body = payloads.SetStoppingBody(reports=storable.bounded_steps(reports))
        return self._call("set_stopping", body=body)

    def get(self, job_id: str) -> Pending[JobRecord]:
        return self._call("get", {"job_id": job_id}, decode=decode_job)

    def counts(self, *, after: str = "", limit: int = LISTED) -> Pending[Page[QueueInfo]]:
        return self._call("counts", body=list_queries.ListQuery(after=after, limit=limit))

    def queue_info(self, queue: str) -> Pending[QueueInfo]:
        return self._call("queue_info", {"queue": queue})

    def ahead(self, job_id: str) -> Pending[int]:
        return self._call("ahead", {"job_id": job_id})

    def offered(self, job_id: str) -> Pending[QueueInfo | None]:
        return self._call("offered", {"job_id": job_id})

    def check(self) -> Pending[list[str]]:
        return self._call("check")

    def cancel(self, job_id: str, *, reason: str, force: bool = False) -> Pending[JobRecord]:
        body = payloads.CancelBody(reason=bounds.cut("reason", reason), force=force)
        return send_cancel(self._open_client(), job_id, body)

    def retry(self, job_id: str, *, reason: str = "") -> Pending[JobRecord]:
        body = payloads.ReasonBody(reason=bounds.cut("reason", reason))
        return self._call("retry", {"job_id": job_id}, body, decode=decode_job)

    def delete(self, job_id: str, *, reason: str = "") -> Pending[None]:
        query = payloads.ReasonQuery(reason=bounds.cut("reason", reason))
        return self._call("delete", {"job_id": job_id}, query)

    def stage(self, *, limit: int) -> Pending[Staged]:
        return self._call("stage", body=payloads.LimitBody(limit=limit))

    def rescue(
        self,
        *,
        dead: Sequence[str] = (),
        begun: Collection[str] | None = None,
        evidence: str = "",
        limit: int,
    ) -> Pending[list[str]]:
        started = None if begun is None else list(begun)
        body = payloads.RescueBody(dead=list(dead), begun=started, evidence=evidence, limit=limit)
        return self._call("rescue", body=body)

    def prune(self, retention: Mapping[State, float], *, limit: int) -> Pending[int]:
        return self._call("prune", body=payloads.PruneBody(retention=dict(retention), limit=limit))

    def beat(self, worker: WorkerInfo) -> Pending[Order]:
        info = storable.bounded_worker(worker)
        return self._call("beat", {"worker": info.id}, payloads.BeatBody(info=info))

    def order(
        self, worker: str, order: Order, *, if_idle: bool = False, reason: str = ""
    ) -> Pending[bool]:
        body = payloads.OrderBody(order=order, if_idle=if_idle, reason=bounds.cut("reason", reason))
        return self._call("order", {"worker": worker}, body)

    def dismiss(self, worker: str, *, force: bool = False, reason: str = "") -> Pending[Dismissed]:
        query = payloads.DismissQuery(force=force, reason=bounds.cut("reason", reason))
        return self._call("dismiss", {"worker": worker}, query)

    def leave(self, worker: str) -> Pending[None]:
        return self._open_client().submit(self._leave(worker))

    def workers(self, *, after: str = "", limit: int = LISTED) -> Pending[Page[WorkerInfo]]:
        return self._call("workers", body=list_queries.ListQuery(after=after, limit=limit))

    def put_tasks(self, tasks: Sequence[TaskDefaults]) -> Pending[None]:
        storable.check_tasks(tasks)
        return self._call("put_tasks", body=payloads.PutTasksBody(tasks=list(tasks)))

    def put_schedule(self, schedule: ScheduleInfo) -> Pending[ScheduleInfo]:
        storable.check_schedule(schedule)
        body = payloads.PutScheduleBody(schedule=schedule)
        return self._call("put_schedule", {"name": schedule.name}, body)

    def schedules(self, *, after: str = "", limit: int = LISTED) -> Pending[Page[ScheduleInfo]]:
        return self._call("schedules", body=list_queries.ListQuery(after=after, limit=limit))

    def remove_schedule(self, name: str, *, reason: str = "") -> Pending[None]:
        query = payloads.ReasonQuery(reason=bounds.cut("reason", reason))
        return self._call("remove_schedule", {"name": name}, query)

    def tick(
        self, name: str, *, due_at: float, next_at: float, jobs: Sequence[NewJob]
    ) -> Pending[bool]:
        storable.check_tick(name, next_at, jobs)
        body = payloads.TickBody(
            due_at=due_at,
            next_at=next_at,
            queue=jobs[0].queue if jobs else "default",
            jobs=list(map(encode_new_job, jobs)),
        )
        return self._call("tick", {"name": name}, body)

    def content(self, digest: str) -> Pending[Content]:
        return self._call("content", {"digest": digest})

    def write_content(
        self, digest: str, offset: int, data: bytes, *, last: bool
    ) -> Pending[Content]:
        body = payloads.PieceQuery(offset=offset, last=last)
        return self._call("write_content", {"digest": digest}, body, data=data)

    def read_content(self, digest: str, offset: int, limit: int) -> Pending[bytes]:
        where = payloads.BytesQuery(offset=offset, limit=limit)
        return self._call("read_content", {"digest": digest}, where)

    def attach(self, lease: Lease, file: FileInfo) -> Pending[bool]:
        body = payloads.AttachBody(lease=lease.lease, file=file)
        return self._call("attach", {"job_id": lease.id}, body)

    def files(self, job_id: str) -> Pending[list[FileInfo]]:
        return self._call("files", {"job_id": job_id}, decode=checked_files)

    def sweep_contents(self, *, limit: int) -> Pending[int]:
        return self._call("sweep_contents", body=payloads.LimitBody(limit=limit))

    def add_token(self, token: Token) -> Pending[None]:
        storable.check_token(token)
        return self._call("add_token", {"token_id": token.id}, payloads.AddTokenBody(token=token))

    def token(self, token_id: str) -> Pending[Token]:
        return self._call("token", {"token_id": token_id})

    def tokens(self, *, after: str = "", limit: int) -> Pending[Page[Token]]:
        return self._call("tokens", body=list_queries.PageQuery(after=after, limit=limit))

    def revoke_token(self, token_id: str) -> Pending[Token]:
        return self._call("revoke_token", {"token_id": token_id})

    def note_action(self, actions: Sequence[Action]) -> Pending[None]:
        return self._call("note_action", body=payloads.NoteActionBody(actions=list(actions)))

    def load(self, *, limit: int, queue: str | None = None) -> Pending[list[Load]]:
        return self._call("load", body=payloads.LoadQuery(limit=limit, queue=queue))

    def lead(
        self, name: str, holder: str, *, hold: float, note: str | None = None
    ) -> Pending[Leader]:
        body = payloads.LeadBody(holder=holder, hold=hold, note=note)
        return self._call("lead", {"name": name}, body)

    def leader(self, name: str) -> Pending[Leader | None]:
        return self._call("leader", {"name": name})

    def _open(self) -> None:
        self._pid = os.getpid()
        self._client = HttpClient(self._url, self.secret, tls=self._tls)
        self._blocking = BlockingClient(self._url, self.secret, self._tls)
        self._hints = HintStream(self._client)
        self._polls = LongPolls(self._client, self._hold, self._publish_work)

    def _open_client(self) -> HttpClient:
        if self._pid != os.getpid():  # a forked child does not have the client's thread
            self._open()
        return self._client

    def _call(
        self,
        name: str,
        path: Mapping[str, str] | None = None,
        body: payloads.Payload | None = None,
        *,
        data: bytes | None = None,
        decode: Callable[[Any], Any] = lambda answer: answer,
    ) -> Pending[Any]:
        client = self._open_client()

        async def call() -> Any:
            return decode(await client.call(STORE_CALLS[name], path, body, data=data))

        return client.submit(call())

    async def _leave(self, worker: str) -> None:
        await self._polls.decline(worker)
        await self._client.call(STORE_CALLS["leave"], {"worker": worker})

    async def _request_terms(self, *, repeats: bool) -> payloads.ServerTerms:
        sent_at = time.monotonic()
        terms: payloads.ServerTerms = await self._client.call(TERMS, repeats=repeats)
        self._terms = (sent_at + time.monotonic()) / 2, terms
        return terms

    def _hold(self) -> float:
        return 25.0 if self._terms is None else self._terms[1].hold

    def _publish_work(self, queues: tuple[str, ...]) -> None:
        self._hints.publish(Hint("work", queues))
