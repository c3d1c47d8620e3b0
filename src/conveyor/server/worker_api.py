"""The handlers for workers: claims, outcomes, leases and heartbeats."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from starlette.responses import Response

from ..core.job import JobRecord
from ..core.lifecycle import Interrupted
from ..errors import ConveyorError, UnavailableError
from ..store.http import payloads
from ..store.http.wire import encode_exchanged
from ..store.messages import Claimant, Exchanged, Report
from ..store.protocol import Store
from .auth import Authenticator
from .authorization import leases_in
from .connection_watch import ClientGoneError, run_while_connected
from .http_io import json_response
from .hub import Hub, WaitingClaim
from .inline_commit import InlineCommit
from .lease_owners import LeaseOwners
from .request import ApiRequest
from .server_config import ServerConfig

# The longest time that a claim is held, in seconds.
MAX_HOLD = 60.0
# Seconds after which a waiting claim looks for jobs without a hint, because hints may be lost.
LOOK_EVERY = 10.0


class WorkerApi:
    """Answers the calls of workers that need more than a call of the store."""

    def __init__(
        self,
        *,
        store: Store,
        authenticator: Authenticator,
        hub: Hub,
        lease_owners: LeaseOwners,
        config: ServerConfig,
        inline_commit: InlineCommit,
    ) -> None:
        self._store = store
        self._authenticator = authenticator
        self._hub = hub
        self._lease_owners = lease_owners
        self._config = config
        self._inline_commit = inline_commit

    async def claim(self, request: ApiRequest) -> Response:
        """Claim jobs, or wait for some, and remember who holds them."""
        body: payloads.ClaimBody = request.body
        worker = request.path["worker"]
        if not body.wait:
            self._hub.end_claim(worker)
            return self._claimed(request, await self._claim_now(request))
        return self._claimed(request, await self._wait_for_jobs(request))

    async def exchange(self, request: ApiRequest) -> Response:
        """Settle and claim in one transaction; then wait for jobs, if asked to."""
        body: payloads.ExchangeBody = request.body
        self._hub.end_claim(request.path["worker"])
        arguments = self._arguments(request)
        found = await self._store.exchange(
            arguments["reports"],
            arguments["wants"],
            arguments["claimant"],
            limit=arguments["limit"],
        )
        self._lease_owners.forget(leases_in(request.body))
        if body.wait and body.wants and not found.jobs:
            waited = await self._wait_after_settling(request)
            found = msgspec.structs.replace(found, jobs=waited)
        return self._claimed(request, found)

    async def decline(self, request: ApiRequest) -> Response:
        """End the waiting claim of a worker."""
        self._hub.end_claim(request.path["worker"])
        return Response(status_code=204)

    async def settle(self, request: ApiRequest) -> Response:
        """Settle, and forget who held the leases."""
        found = await self._store.settle(**request.arguments())
        self._lease_owners.forget(leases_in(request.body))
        return json_response(encode_exchanged(found))

    async def extend(self, request: ApiRequest) -> Response:
        """Renew leases."""
        body: payloads.ExtendBody = request.body
        lease_for = self._limit_lease(request, body.lease_for)
        return json_response(await self._store.extend(body.leases, lease_for=lease_for))

    async def extend_worker(self, request: ApiRequest) -> Response:
        """Renew all leases of a worker."""
        lease_for = self._limit_lease(request, request.body.lease_for)
        worker = request.path["worker"]
        return json_response(await self._store.extend_worker(worker, lease_for=lease_for))

    async def beat(self, request: ApiRequest) -> Response:
        """Record a heartbeat.

        `begun` names a file beside the store, which maintenance deletes when the worker is dead. A
        worker on another machine has no such file and must not choose which one is deleted.
        """
        info = msgspec.structs.replace(request.body.info, begun="")
        return json_response(await self._store.beat(info))

    async def _wait_for_jobs(self, request: ApiRequest) -> Exchanged:
        queues = [want.queue for want in request.body.wants]
        worker, labels = request.path["worker"], request.body.labels
        with self._hub.waiting_claim(worker, queues, labels) as waiting:
            found = await self._claim_when_there_are_jobs(request, waiting)
            if found.jobs:
                self._hub.wake_next(waiting)
        return found

    async def _wait_after_settling(self, request: ApiRequest) -> tuple[JobRecord, ...]:
        """Wait for jobs. An error must not hide that the reports have been written."""
        try:
            return (await self._wait_for_jobs(request)).jobs
        except ConveyorError:
            return ()
        except ClientGoneError as error:
            if error.reason is None:
                raise
            return ()

    async def _claim_now(self, request: ApiRequest) -> Exchanged:
        if self._hub.closing:
            raise UnavailableError("the server is stopping; retry later")
        arguments = self._arguments(request)
        return await self._store.claim(
            arguments["wants"], arguments["claimant"], limit=arguments["limit"]
        )

    async def _claim_when_there_are_jobs(
        self, request: ApiRequest, waiting: WaitingClaim
    ) -> Exchanged:
        deadline = time.monotonic() + min(request.body.wait, MAX_HOLD)

        async def claim_repeatedly() -> Exchanged:
            while True:
                await self._authenticator.check_again(request.principal)
                found = await self._claim_now(request)
                left = deadline - time.monotonic()
                if found.jobs or waiting.ended or left <= 0:
                    return found
                await waiting.sleep(min(LOOK_EVERY, left))

        access = self._authenticator.watch_access(request.principal)
        try:
            with self._inline_commit.exclude_waiting():
                return await run_while_connected(
                    request.http, claim_repeatedly(), waiting.end, access
                )
        except ClientGoneError as error:
            await self._return_jobs(error.result)
            raise

    async def _return_jobs(self, found: Exchanged | None) -> None:
        """Return jobs to the queue that were claimed for a worker that has disconnected."""
        if found is not None and found.jobs:
            await self._store.settle(
                [Report(job.id, job.lease, Interrupted()) for job in found.jobs]
            )

    def _claimed(self, request: ApiRequest, found: Exchanged) -> Response:
        self._lease_owners.record(request.principal, found.jobs)
        return json_response(encode_exchanged(found))

    def _arguments(self, request: ApiRequest) -> dict[str, Any]:
        """Return the arguments of a claim, with its leases limited."""
        arguments = request.arguments()
        claimant: Claimant = arguments["claimant"]
        within = claimant.confirm_within
        arguments["claimant"] = msgspec.structs.replace(
            claimant,
            lease_for=self._limit_lease(request, claimant.lease_for),
            confirm_within=None if within is None else self._limit_lease(request, within),
        )
        return arguments

    def _limit_lease(self, request: ApiRequest, seconds: float) -> float:
        """Return for how long a lease lasts: only an admin may exceed the server's limit."""
        return seconds if request.principal.is_admin else min(seconds, self._config.lease_for)
