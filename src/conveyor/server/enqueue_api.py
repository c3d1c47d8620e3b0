"""The handlers that store jobs: checks, capacity, and waiting for room in a full queue."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import nullcontext
from functools import partial

from msgspec import UNSET, UnsetType
from starlette.responses import Response

from ..client.enqueue import enqueue
from ..core.clock import elapsed
from ..core.job import NewJob, TaskDefaults
from ..errors import NotFoundError, QueueFullError
from ..store.call_style import AsyncCalls
from ..store.hint_waiters import HintWaiters
from ..store.http import payloads
from ..store.http.inspection_payloads import Copied, CopyBody
from ..store.http.payloads import InsertAnswer
from ..store.http.wire import NewJobView
from ..store.messages import Accepted, Offered
from ..store.protocol import Store
from ..system.file_threads import FileThreads
from .audit import action_of
from .auth import Authenticator, Principal
from .authorization import Authorizer
from .connection_watch import run_while_connected
from .enqueue_audit import EnqueueAudit
from .http_io import json_response
from .inline_commit import InlineCommit
from .job_copy import copied
from .job_intake import JobIntake, check_declarations
from .request import ApiRequest
from .server_config import ServerConfig

# At most this many jobs are inserted in the event loop, because that takes only a moment.
FEW_JOBS = 10
# More than so many jobs are checked beside the event loop.
MANY_JOBS = 1000
# The longest time that a request waits for room, in seconds.
MAX_WAIT = 30.0


class EnqueueApi:
    """Answers the calls `insert`, `copy_job`, `tick` and `put_tasks`."""

    def __init__(
        self,
        *,
        store: Store,
        authenticator: Authenticator,
        authorizer: Authorizer,
        config: ServerConfig,
        inline_commit: InlineCommit,
    ) -> None:
        self._store = store
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._config = config
        self._inline_commit = inline_commit
        self._intake = JobIntake(config.args_limit, config.tasks)
        self._checking = FileThreads(max_threads=1)
        self._hint_waiters = HintWaiters(store)
        self._audit = EnqueueAudit(store, elapsed)

    def close(self) -> None:
        """Stop listening for room."""
        self._hint_waiters.close()

    async def insert(self, request: ApiRequest) -> Response:
        """Enqueue jobs. If the queue is full: wait for room, return an offer, or fail."""
        body: payloads.InsertBody = request.body
        queue = request.path["queue"]
        jobs = await self._new_jobs(body.jobs, queue)
        capacity = await self._capacity(request.principal, queue, body.capacity)
        before = await self._audit.capacity_before(queue, capacity)
        if body.wait is not None:
            accepted = await self._insert_when_there_is_room(request, jobs, capacity)
            await self._audit.record(request, accepted, before, capacity)
            return json_response(InsertAnswer(accepted=accepted))
        is_small = len(jobs) <= FEW_JOBS
        with self._inline_commit.commit_here_if_alone() if is_small else nullcontext():
            inserting = self._store.insert(
                jobs, capacity=capacity, when_full=body.when_full, again=body.again
            )
        found = await inserting
        await self._audit.record(request, found, before, capacity)
        if isinstance(found, Offered):
            self._authorizer.remember_offer(found.offer, queue)
            return json_response(InsertAnswer(offered=found), 202)
        return json_response(InsertAnswer(accepted=found))

    async def copy_job(self, request: ApiRequest) -> Response:
        """Enqueue a job like another one, through the checks of every job."""
        body: CopyBody = request.body
        job = await self._store.get(request.path["job_id"])
        queue = job.queue if body.queue is None else body.queue
        # As for every job of the task: a job that is stored no longer says which of its own it had.
        declared = (await self._declared([job.task])).get(job.task)
        callbacks = () if declared is None else declared.callbacks
        view = copied(job, body, self._config.masked_keys, callbacks)
        jobs = await self._new_jobs([view], queue)
        capacity = await self._capacity(request.principal, queue, UNSET)
        found = await self._store.insert(jobs, capacity=capacity, when_full="refuse")
        if isinstance(found, Offered):  # a queue without capacity only makes offers
            await self._store.withdraw(found.offer)
            raise QueueFullError(queue, found.depth, found.capacity)
        return json_response(Copied(found.ids[0]))

    async def tick(self, request: ApiRequest) -> Response:
        """Enqueue the jobs of a due schedule, checked like all others."""
        body: payloads.TickBody = request.body
        jobs = await self._new_jobs(body.jobs, body.queue)
        ticked = await self._store.tick(
            request.path["name"], due_at=body.due_at, next_at=body.next_at, jobs=jobs
        )
        return json_response(ticked)

    async def put_tasks(self, request: ApiRequest) -> Response:
        """Store what tasks declare, which jobs get that are sent without options."""
        body: payloads.PutTasksBody = request.body
        check_declarations(body.tasks)
        changed = [
            each.name for each in body.tasks if await self._store.task_defaults(each.name) != each
        ]
        await self._store.put_tasks(body.tasks)
        if changed:
            line = action_of(request, "declare tasks", ", ".join(changed))
            await self._store.note_action([line])
        return Response(status_code=204)

    async def _insert_when_there_is_room(
        self, request: ApiRequest, jobs: list[NewJob], capacity: int | None
    ) -> Accepted | None:
        body: payloads.InsertBody = request.body
        assert body.wait is not None, "checked by the caller"
        enqueuing: asyncio.Task[Accepted] = asyncio.ensure_future(
            enqueue(
                jobs,
                store=self._store,
                hint_waiters=self._hint_waiters,
                call_style=AsyncCalls(),
                capacity=capacity,
                when_full=body.when_full,
                wait=min(body.wait, MAX_WAIT),
                again=body.again,
            )
        )

        async def enqueued() -> Accepted | None:
            try:
                return await enqueuing
            except asyncio.CancelledError:
                return None

        def withdraw() -> None:
            enqueuing.cancel()  # which withdraws the offer

        access = self._authenticator.watch_access(request.principal)
        with self._inline_commit.exclude_waiting():
            return await run_while_connected(request.http, enqueued(), withdraw, access)

    async def _new_jobs(self, views: list[NewJobView], queue: str) -> list[NewJob]:
        """Check received jobs: many of them in a thread, because that takes seconds."""
        declared = await self._declared({view.task for view in views if not view.complete})
        check = partial(self._intake.new_jobs, views, queue, self._store.now(), declared)
        return check() if len(views) <= MANY_JOBS else await self._checking.run(check)

    async def _declared(self, names: Collection[str]) -> dict[str, TaskDefaults]:
        """Return what is declared about tasks."""
        declared: dict[str, TaskDefaults] = {}
        for name in names:
            known = self._config.tasks.get(name)
            found = await self._store.task_defaults(name) if known is None else known.defaults
            if found is not None:
                declared[name] = found
        return declared

    async def _capacity(
        self, principal: Principal, queue: str, requested: int | UnsetType | None
    ) -> int | None:
        """Return a queue's capacity. Only an admin may change what the application declares."""
        capacities = self._config.capacities
        declared = capacities.get(queue)
        if requested is not UNSET and (declared is None or principal.is_admin):
            return requested
        if queue in capacities:
            return declared
        try:
            return (await self._store.queue_info(queue)).capacity
        except NotFoundError:
            return None
