"""What each call needs to be allowed: of its token, of the queue, of the worker it speaks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import AccessError, NotFoundError
from ..store.http import payloads
from ..store.http.api import Call
from ..store.messages import Lease
from ..store.protocol import Store
from .auth import Caller, allow, may_be
from .lease_owners import Holders
from .validation import check_sense

# How many offers are remembered with their queues.
OFFERS = 100_000
# Calls that tell of everything, and of nothing that could be left out for a queue.
LISTS_OF_ALL = frozenset({"schedules", "leader"})


class Checks:
    """Lets calls through, or raises AccessError. It remembers what it must of earlier answers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._offers: dict[str, str] = {}
        self.holders = Holders(store)

    def offered(self, offer: str, queue: str) -> None:
        """Remember which queue an offer is for."""
        if len(self._offers) >= OFFERS:
            self._offers.clear()
        self._offers[offer] = queue

    async def check(self, call: Call, caller: Caller, path: Mapping[str, str], body: Any) -> None:
        """Let a caller make a call, or AccessError."""
        check_sense(path, body)
        if caller.is_admin:
            return
        for queue in await self._queues(call, caller, path, body):
            allow(caller, call.scopes, queue, call.name)
        _check_worker(call, caller, path, body)
        await self.holders.check(caller, leases(body, path.get("job_id", "")))

    async def _queues(
        self, call: Call, caller: Caller, path: Mapping[str, str], body: Any
    ) -> Sequence[str | None]:
        limited = bool(caller.queues)
        match body:
            case payloads.Claim():
                return [want.queue for want in body.wants] or [None]
            case payloads.FindQuery():
                return [body.queue]
            case payloads.ScaleQuery(queue=str() as named):
                return [named]
            case _ if "queue" in path:
                return [path["queue"]]
            case _ if "job_id" in path and limited:
                await self._check_job(call, caller, path["job_id"])
                return []
            case _ if "offer" in path and limited:
                queue = self._offers.get(path["offer"])
                if queue is None:
                    raise NotFoundError(f"offer {path['offer']} is not known here any more")
                return [queue]
            case _ if limited and call.name not in LISTS_OF_ALL:
                return [caller.queues[0]]
            case _:
                return [None]

    async def _check_job(self, call: Call, caller: Caller, job_id: str) -> None:
        queue = await self._queue_of(job_id)
        try:
            allow(caller, call.scopes, queue, call.name)
        except AccessError as error:
            # The name of its queue is none of their business either.
            raise AccessError(
                f"job {job_id} is on none of the queues that the token is for"
            ) from error

    async def _queue_of(self, job_id: str) -> str | None:
        try:
            return (await self._store.get(job_id)).queue
        except NotFoundError:
            offered = await self._store.offered(job_id)
            if offered is None:
                raise
            return offered.name


def leases(body: Any, job_id: str = "") -> list[Lease]:
    """Return the leases under which a call writes."""
    match body:
        case payloads.Settle() | payloads.Exchange():
            return [Lease(report.id, report.lease) for report in body.reports]
        case payloads.Extend():
            return body.leases
        case payloads.WriteOutput():
            named = {(chunk.job_id, chunk.lease) for chunk in body.chunks}
            return [Lease(job_id, lease) for job_id, lease in named]
        case payloads.Attach():
            return [Lease(job_id, body.lease)]
        case payloads.SetProgress() | payloads.SetStopping():
            return [lease for lease, _ in body.reports]
        case _:
            return []


def _check_worker(call: Call, caller: Caller, path: Mapping[str, str], body: Any) -> None:
    named: list[str] = []
    if "worker" in path:
        named.append(path["worker"])
    match body:
        case payloads.Beat():
            named.append(body.info.id)
        case payloads.Rescue():
            named += body.dead
        case _:
            pass
    for worker in named:
        if not may_be(caller, worker):
            token = caller.token.id if caller.token else ""
            raise AccessError(
                f"the token {token} may not speak for worker {worker!r} ({call.name}): the name of "
                f"an agent's worker ends with @ and the id of its token, here @{token}"
            )
