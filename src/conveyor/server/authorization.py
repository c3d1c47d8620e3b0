"""Authorization: whether a call is allowed, by the scopes, queues and workers of its token."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..core.access import Scope
from ..core.lifecycle import Interrupted
from ..errors import AccessError, NotFoundError
from ..store.enqueue_rules import no_job
from ..store.http import list_queries, payloads
from ..store.http.api import ApiCall
from ..store.http.api_call import ADMIN_ONLY
from ..store.http.history_payloads import QueueHistoryQuery
from ..store.http.inspection_payloads import ActBody, CopyBody, MatchBody, SuggestQuery
from ..store.messages import Hint, Lease
from ..store.protocol import Store
from .auth import Principal, ended_token
from .known_queues import KnownQueues
from .lease_owners import LeaseOwners

# These lists have no entries of single queues, so a token that is limited to queues gets none.
LISTS_OF_ALL = frozenset(
    {
        *("schedules", "schedule_outlook", "recent_jobs", "leader", "scaler"),
        *("marks", "overview", "queue_history"),
    }
)


class Authorizer:
    """Allows calls or raises AccessError. To a token that is limited to queues, jobs and offers of
    others do not exist: the error is that of an unknown one. `lease_owners` and the queues of jobs
    and offers are its memory.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._jobs = KnownQueues()
        self._offers = KnownQueues()
        self.lease_owners = LeaseOwners(store)

    def remember_offer(self, offer: str, queue: str) -> None:
        """Remember which queue an offer is for."""
        self._offers.remember(offer, queue)

    async def check(
        self, call: ApiCall, principal: Principal, path: Mapping[str, str], body: Any
    ) -> None:
        """Allow a call, or raise AccessError."""
        if principal.is_admin:
            return
        _check_text(principal, body)
        if isinstance(body, ActBody):
            _check_act(principal, body)
        if principal.is_former and principal.token is not None and not _only_returns(body):
            raise ended_token(principal.token, self._store.now())
        for queue in await self._queues(call, principal, path, body):
            _check_queue(call, principal, queue)
        _check_workers(call, principal, path, body)
        leases = leases_in(body, path.get("job_id", ""))
        await self.lease_owners.check(principal, leases)
        if principal.queues:
            await self._remember_jobs(leases)

    def visible_hint(self, principal: Principal, hint: Hint) -> Hint | None:
        """Return the part of a hint that is about the queues and workers of a token."""
        if principal.is_admin:
            return hint
        match hint.kind:
            case "access":
                return None
            case "quiet" | "stack":
                visible = [worker for worker in hint.subjects if principal.may_act_as(worker)]
            case _ if not principal.queues:
                return hint
            case "work" | "due":
                visible = [queue for queue in hint.subjects if queue in principal.queues]
            case "offer":
                visible = _of_queues(hint.subjects, self._offers, principal.queues)
            case "final" | "cancel" | "output":
                visible = _of_queues(hint.subjects, self._jobs, principal.queues)
        return Hint(hint.kind, tuple(visible)) if visible or not hint.subjects else None

    async def _queues(
        self, call: ApiCall, principal: Principal, path: Mapping[str, str], body: Any
    ) -> Sequence[str | None]:
        """Return the queues that a call is about; None stands for no queue in particular."""
        is_limited = bool(principal.queues)
        match body:
            case payloads.ClaimBody():
                return [want.queue for want in body.wants] or [None]
            case (
                list_queries.CountQuery()
                | list_queries.FailuresQuery()
                | list_queries.FailureQuery()
            ):
                return [body.queue]
            case MatchBody() | ActBody():
                return [body.filter.queue]
            case SuggestQuery() if body.kind != "queue" or body.queue is not None:
                return [body.queue]
            case payloads.ScaleQuery() | payloads.LoadQuery() | QueueHistoryQuery() if (
                body.queue is not None
            ):
                return [body.queue]
            case payloads.InsertBody():
                called = {each.queue for view in body.jobs for each in view.callbacks}
                return [path["queue"], *sorted(called)]
            case _ if "queue" in path:
                return [path["queue"]]
            case _ if "job_id" in path and is_limited:
                await self._check_job(call, principal, path["job_id"])
                return _other_queues(body)
            case _ if "offer" in path and is_limited:
                if self._offers.queue_of(path["offer"]) not in principal.queues:
                    raise NotFoundError(f"offer {path['offer']!r} not found")
                return [self._offers.queue_of(path["offer"])]
            case _ if is_limited and call.name not in LISTS_OF_ALL:
                return [principal.queues[0]]
            case _:
                return [None]

    async def _check_job(self, call: ApiCall, principal: Principal, job_id: str) -> None:
        queue = await self._queue_of_job(job_id)
        if queue not in principal.queues:
            raise no_job(job_id)
        _check_queue(call, principal, queue)
        self._jobs.remember(job_id, queue)

    async def _queue_of_job(self, job_id: str) -> str:
        try:
            return (await self._store.get(job_id)).queue
        except NotFoundError:
            offered = await self._store.offered(job_id)
            if offered is None:
                raise no_job(job_id) from None
            return offered.name

    async def _remember_jobs(self, leases: Sequence[Lease]) -> None:
        """Remember the queues of jobs that an agent holds, so that it gets hints of cancels."""
        for lease in leases:
            if self._jobs.queue_of(lease.id) is None:
                with suppress(NotFoundError):
                    self._jobs.remember(lease.id, (await self._store.get(lease.id)).queue)


def check_scope(call: ApiCall, principal: Principal) -> None:
    """Raise AccessError unless the token has a scope for the call, for any queue."""
    token = principal.token
    if not principal.is_admin and token is not None and not token.scopes & set(call.scopes):
        raise _forbidden(principal, call.scopes, call.name)


def _check_text(principal: Principal, body: Any) -> None:
    """Raise AccessError for a search in arguments by who may not see the secrets in them.

    It would tell them letter by letter.
    """
    match body:
        case list_queries.CountQuery():  # also that of `GET /jobs`
            text = body.text
        case MatchBody() | ActBody():
            text = body.filter.text
        case _:
            return
    if text is not None and not principal.sees_secrets and principal.token is not None:
        raise AccessError(
            f"token {principal.token.id} ({principal.token.name}) may not filter by text, which "
            "would search in the secrets of arguments, too: this needs the scope enqueue, agent or "
            "admin beside read; leave out `text`"
        )


def _check_act(principal: Principal, body: ActBody) -> None:
    """Raise AccessError for an action on the jobs of a filter that a token may not have done."""
    if body.action != "cancel":
        raise _forbidden(principal, ADMIN_ONLY, f"{body.action} the jobs of a filter")
    if principal.queues and body.filter.queue is None:
        raise AccessError(
            "this token may cancel the jobs of a filter that names one of its queues: "
            f"{', '.join(principal.queues)}"
        )


def _other_queues(body: Any) -> list[str]:
    """Return the queues that a call about one job names beside that of the job."""
    return [body.queue] if isinstance(body, CopyBody) and body.queue is not None else []


def _only_returns(body: Any) -> bool:
    """Whether a call only returns jobs that were not finished."""
    return isinstance(body, payloads.SettleBody) and all(
        isinstance(report.outcome, Interrupted) for report in body.reports
    )


def leases_in(body: Any, job_id: str = "") -> list[Lease]:
    """Return the leases under which a call writes."""
    match body:
        case payloads.SettleBody() | payloads.ExchangeBody():
            return [Lease(report.id, report.lease) for report in body.reports]
        case payloads.ExtendBody():
            return body.leases
        case payloads.WriteOutputBody():
            unique = {(chunk.job_id, chunk.lease) for chunk in body.chunks}
            return [Lease(job_id, lease) for job_id, lease in unique]
        case payloads.AttachBody():
            return [Lease(job_id, body.lease)]
        case payloads.PutStackBody():
            return [body.lease]
        case payloads.SetProgressBody() | payloads.SetStoppingBody():
            return [lease for lease, _ in body.reports]
        case _:
            return []


def _of_queues(subjects: Sequence[str], known: KnownQueues, queues: Collection[str]) -> list[str]:
    """Return the jobs or offers that are known to belong to the queues."""
    return [subject for subject in subjects if known.queue_of(subject) in queues]


def _check_queue(call: ApiCall, principal: Principal, queue: str | None) -> None:
    if not principal.may(call.scopes, queue):
        where = "" if queue is None else f" on queue {queue!r}"
        raise _forbidden(principal, call.scopes, call.name + where)


def _check_workers(call: ApiCall, principal: Principal, path: Mapping[str, str], body: Any) -> None:
    workers: list[str] = []
    if "worker" in path:
        workers.append(path["worker"])
    match body:
        case payloads.BeatBody():
            workers.append(body.info.id)
        case payloads.RescueBody():
            workers += body.dead
        case _:
            pass
    for worker in workers:
        if not principal.may_act_as(worker):
            token_id = principal.token.id if principal.token else ""
            raise AccessError(
                f"token {token_id} may not act for worker {worker!r} ({call.name}): the name of "
                f"an agent's worker ends with @ and the id of its token, here @{token_id}"
            )


def _forbidden(principal: Principal, scopes: Collection[Scope], action: str) -> AccessError:
    token = principal.token
    assert token is not None, "without a token everything is allowed"
    needed = " or ".join([*scopes, "admin"])
    queues = f" for {', '.join(token.queues)}" if token.queues else ""
    return AccessError(
        f"token {token.id} ({token.name}) may not {action}: this needs the scope {needed}, and "
        f"the token has {', '.join(sorted(token.scopes))}{queues}"
    )
