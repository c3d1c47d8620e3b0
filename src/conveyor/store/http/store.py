"""The store over HTTP: another process, here or elsewhere, holds the jobs; see server/."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ...core.access import Action, Token
from ...core.clock import Clock
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
from ...core.pending import Pending
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
from . import idempotency, payloads
from .api import CALLS, TERMS
from .blocking_client import Here
from .client import Line, checked_token, server_address, trusting
from .hint_stream import Ear
from .long_poll import Questions
from .payloads import Body, Terms
from .wire import job_of, new_job_view, progress_view

# How long the server's clock is taken to run like ours, in seconds.
CLOCK = 300.0


class HttpStore:
    """Jobs that a Conveyor server holds. May be used by any thread, and after a fork by the child.

    `url` is the server's address, `token` what opens it. `ca_file` has the certificates, in PEM, of
    who vouches for it, in place of those that the system trusts. `clock` stands in for the server's
    in tests.
    """

    is_durable = is_multi_process = is_server = True
    answers_can_be_lost = can_be_partitioned = maintains_itself = records_actions = True
    is_local = keeps_call_order = False
    folder = ""

    def __init__(
        self, url: str, *, token: str = "", ca_file: str = "", clock: Clock | None = None
    ) -> None:
        self._url = server_address(url)
        self.secret = checked_token(token)
        self._clock = clock
        self._tls = trusting(ca_file) if ca_file else None
        self._terms: tuple[float, Terms] | None = None
        self._open()

    @property
    def url(self) -> str:
        return self._url

    def now(self) -> float:
        if self._clock is not None:
            return self._clock.now()
        terms = self._terms
        if terms is None or time.monotonic() - terms[0] > CLOCK:
            self.terms().result()
            terms = self._terms
        assert terms is not None, "set by `terms`"
        return terms[1].now + time.monotonic() - terms[0]

    def terms(self) -> Pending[Terms]:
        """Ask what the server is, and asks of agents."""
        return self._here().start(self._ask_terms())

    def listen(self, kinds: Sequence[HintKind], listener: Listener) -> Callable[[], None]:
        self._here()
        return self._ear.listen(kinds, listener)

    def close(self) -> None:
        self._line.close()
        self._plain.close()

    # -- producers -----------------------------------------------------------------------------

    def insert(
        self,
        jobs: Sequence[NewJob],
        *,
        capacity: int | None = None,
        when_full: WhenFull = "wait",
        again: bool = False,
    ) -> Pending[Accepted | Offered]:
        body = payloads.Insert(
            jobs=list(map(new_job_view, jobs)), capacity=capacity, when_full=when_full, again=again
        )
        queue = jobs[0].queue if jobs else "default"
        line = self._here()
        return idempotency.insert(line, self._plain, queue, body)

    def accepted(self, offer: str) -> Pending[Accepted | None]:
        return self._ask("accepted", _accepted, {"offer": offer})

    def withdraw(self, offer: str) -> Pending[Accepted | None]:
        return self._ask("withdraw", _accepted, {"offer": offer})

    # -- workers -------------------------------------------------------------------------------

    def claim(self, wants: Sequence[Want], who: Claimant, *, limit: int) -> Pending[Exchanged]:
        return self.exchange((), wants, who, limit=limit)

    def settle(self, reports: Sequence[Report]) -> Pending[Exchanged]:
        return self.exchange(reports, (), Claimant(""), limit=0)

    def exchange(
        self, reports: Sequence[Report], wants: Sequence[Want], who: Claimant, *, limit: int
    ) -> Pending[Exchanged]:
        line = self._here()
        return line.start(self._questions.exchange(reports, wants, who, limit))

    def decline(self, worker: str) -> Pending[None]:
        line = self._here()
        return line.start(self._questions.decline(worker))

    def extend(self, leases: Sequence[Lease], *, lease_for: float) -> Pending[list[Renewal]]:
        return self._ask(
            "extend", _same, body=payloads.Extend(leases=list(leases), lease_for=lease_for)
        )

    def extend_worker(self, worker: str, *, lease_for: float) -> Pending[int]:
        body = payloads.ExtendWorker(lease_for=lease_for)
        return self._ask("extend_worker", _same, {"worker": worker}, body)

    def write_output(self, chunks: Sequence[OutputChunk]) -> Pending[list[Renewal]]:
        return self._ask("write_output", _same, body=payloads.WriteOutput(chunks=list(chunks)))

    def set_progress(self, reports: Sequence[tuple[Lease, Progress]]) -> Pending[list[Renewal]]:
        said = [progress_view(lease, progress) for lease, progress in reports]
        return self._ask("set_progress", _same, body=payloads.SetProgress(reports=said))

    def set_stopping(
        self, reports: Sequence[tuple[Lease, Sequence[StopNote]]]
    ) -> Pending[list[Renewal]]:
        noted = [(lease, list(notes)) for lease, notes in reports]
        return self._ask("set_stopping", _same, body=payloads.SetStopping(reports=noted))

    # -- operators -----------------------------------------------------------------------------

    def get(self, job_id: str) -> Pending[JobRecord]:
        return self._ask("get", job_of, {"job_id": job_id})

    def find(self, which: Filter, *, limit: int) -> Pending[list[JobRecord]]:
        body = payloads.FindQuery(
            queue=which.queue,
            task=which.task,
            states=",".join(sorted(which.states)),
            before=which.before,
            enqueued_before=which.enqueued_before,
            limit=limit,
        )
        return self._ask("find", lambda views: list(map(job_of, views)), body=body)

    def history(self, job_id: str) -> Pending[list[AttemptError]]:
        return self._ask("history", _same, {"job_id": job_id})

    def output(self, job_id: str, *, after: int = 0, limit: int) -> Pending[list[OutputChunk]]:
        body = payloads.OutputQuery(after=after, limit=limit)
        return self._ask("output", _same, {"job_id": job_id}, body)

    def counts(self) -> Pending[list[QueueInfo]]:
        return self._ask("counts", _same)

    def ahead(self, job_id: str) -> Pending[int]:
        return self._ask("ahead", _same, {"job_id": job_id})

    def offered(self, job_id: str) -> Pending[QueueInfo | None]:
        return self._ask("offered", _same, {"job_id": job_id})

    def check(self) -> Pending[list[str]]:
        return self._ask("check", _same)

    def cancel(self, job_id: str, *, reason: str, force: bool = False) -> Pending[JobRecord]:
        body = payloads.Cancel(reason=reason, force=force)
        return idempotency.cancel(self._here(), job_id, body)

    def retry(self, job_id: str) -> Pending[JobRecord]:
        return self._ask("retry", job_of, {"job_id": job_id})

    def delete(self, job_id: str) -> Pending[None]:
        return self._ask("delete", _same, {"job_id": job_id})

    def set_paused(self, queue: str, *, paused: bool) -> Pending[None]:
        return self._ask("set_paused", _same, {"queue": queue}, payloads.Paused(paused=paused))

    # -- upkeep --------------------------------------------------------------------------------

    def stage(self, *, limit: int) -> Pending[Staged]:
        return self._ask("stage", _same, body=payloads.Stage(limit=limit))

    def rescue(
        self,
        *,
        dead: Sequence[str] = (),
        begun: Collection[str] | None = None,
        evidence: str = "",
        limit: int,
    ) -> Pending[list[str]]:
        body = payloads.Rescue(
            dead=list(dead),
            begun=None if begun is None else list(begun),
            evidence=evidence,
            limit=limit,
        )
        return self._ask("rescue", _same, body=body)

    def prune(self, retention: Mapping[State, float], *, limit: int) -> Pending[int]:
        return self._ask(
            "prune", _same, body=payloads.Prune(retention=dict(retention), limit=limit)
        )

    def beat(self, worker: WorkerInfo) -> Pending[Order]:
        return self._ask("beat", _same, {"worker": worker.id}, payloads.Beat(info=worker))

    def order(self, worker: str, order: Order, *, if_idle: bool = False) -> Pending[bool]:
        body = payloads.Ordered(order=order, if_idle=if_idle)
        return self._ask("order", _same, {"worker": worker}, body)

    def dismiss(self, worker: str, *, force: bool = False) -> Pending[Dismissed]:
        return self._ask("dismiss", _same, {"worker": worker}, payloads.DismissQuery(force=force))

    def leave(self, worker: str) -> Pending[None]:
        return self._here().start(self._leave(worker))

    def workers(self) -> Pending[list[WorkerInfo]]:
        return self._ask("workers", _same)

    def put_schedule(self, schedule: ScheduleInfo) -> Pending[ScheduleInfo]:
        body = payloads.PutSchedule(schedule=schedule)
        return self._ask("put_schedule", _same, {"name": schedule.name}, body)

    def schedules(self) -> Pending[list[ScheduleInfo]]:
        return self._ask("schedules", _same)

    def pause_schedule(self, name: str, *, paused: bool) -> Pending[None]:
        return self._ask("pause_schedule", _same, {"name": name}, payloads.Paused(paused=paused))

    def tick(
        self, name: str, *, due_at: float, next_at: float, jobs: Sequence[NewJob]
    ) -> Pending[bool]:
        body = payloads.Tick(
            due_at=due_at,
            next_at=next_at,
            queue=jobs[0].queue if jobs else "default",
            jobs=list(map(new_job_view, jobs)),
        )
        return self._ask("tick", _same, {"name": name}, body)

    # -- files ---------------------------------------------------------------------------------

    def content(self, digest: str) -> Pending[Content]:
        return self._ask("content", _same, {"digest": digest})

    def write_content(
        self, digest: str, offset: int, data: bytes, *, last: bool
    ) -> Pending[Content]:
        body = payloads.PieceQuery(offset=offset, last=last)
        return self._ask("write_content", _same, {"digest": digest}, body, data)

    def read_content(self, digest: str, offset: int, limit: int) -> Pending[bytes]:
        body = payloads.BytesQuery(offset=offset, limit=limit)
        return self._ask("read_content", _same, {"digest": digest}, body)

    def attach(self, lease: Lease, file: FileInfo) -> Pending[bool]:
        body = payloads.Attach(lease=lease.lease, file=file)
        return self._ask("attach", _same, {"job_id": lease.id}, body)

    def files(self, job_id: str) -> Pending[list[FileInfo]]:
        return self._ask("files", _same, {"job_id": job_id})

    def sweep_contents(self, *, limit: int) -> Pending[int]:
        return self._ask("sweep_contents", _same, body=payloads.Stage(limit=limit))

    # -- access --------------------------------------------------------------------------------

    def add_token(self, token: Token) -> Pending[None]:
        return self._ask("add_token", _same, {"token_id": token.id}, payloads.AddToken(token=token))

    def token(self, token_id: str) -> Pending[Token]:
        return self._ask("token", _same, {"token_id": token_id})

    def tokens(self, *, after: str = "", limit: int) -> Pending[list[Token]]:
        return self._ask("tokens", _same, body=payloads.PageQuery(after=after, limit=limit))

    def revoke_token(self, token_id: str) -> Pending[Token]:
        return self._ask("revoke_token", _same, {"token_id": token_id})

    def note_action(self, actions: Sequence[Action]) -> Pending[None]:
        return self._ask("note_action", _same, body=payloads.NoteAction(actions=list(actions)))

    def actions(self, *, before: int | None = None, limit: int) -> Pending[list[Action]]:
        return self._ask("actions", _same, body=payloads.BeforeQuery(before=before, limit=limit))

    # -- scaling -------------------------------------------------------------------------------

    def load(self, *, limit: int) -> Pending[list[Load]]:
        return self._ask("load", _same, body=payloads.LoadQuery(limit=limit))

    def lead(
        self, name: str, holder: str, *, hold: float, note: str | None = None
    ) -> Pending[Leader]:
        body = payloads.Lead(holder=holder, hold=hold, note=note)
        return self._ask("lead", _same, {"name": name}, body)

    def leader(self, name: str) -> Pending[Leader | None]:
        return self._ask("leader", _same, {"name": name})

    # -- how -----------------------------------------------------------------------------------

    def _open(self) -> None:
        self._pid = os.getpid()
        self._line = Line(self._url, self.secret, tls=self._tls)
        self._plain = Here(self._url, self.secret, self._tls)
        self._ear = Ear(self._line)
        self._questions = Questions(self._line, self._hold, self._tell_of_work)

    def _here(self) -> Line:
        if self._pid != os.getpid():  # a forked child: the thread of the line is not here
            self._open()
        return self._line

    def _ask(
        self,
        name: str,
        read: Callable[[Any], Any],
        path: Mapping[str, str] | None = None,
        body: Body | None = None,
        data: bytes | None = None,
    ) -> Pending[Any]:
        line = self._here()

        async def ask() -> Any:
            return read(await line.ask(CALLS[name], path, body, data=data))

        return line.start(ask())

    async def _leave(self, worker: str) -> None:
        await self._questions.decline(worker)
        await self._line.ask(CALLS["leave"], {"worker": worker})

    async def _ask_terms(self) -> Terms:
        asked = time.monotonic()
        terms: Terms = await self._line.ask(TERMS)
        self._terms = (asked + time.monotonic()) / 2, terms
        return terms

    def _hold(self) -> float:
        return 25.0 if self._terms is None else self._terms[1].hold

    def _tell_of_work(self, queues: tuple[str, ...]) -> None:
        self._ear.tell(Hint("work", queues))


def _same(value: Any) -> Any:
    return value


def _accepted(answer: payloads.OfferAnswer) -> Accepted | None:
    return answer.accepted
