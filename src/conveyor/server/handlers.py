"""The handler of each call. Most calls go to the store as they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

import msgspec
from starlette.responses import Response

from ..core.clock import elapsed
from ..core.files import PIECE
from ..core.job import WorkerInfo
from ..core.page import cut_page
from ..store.call_style import AsyncCalls
from ..store.http import list_queries, payloads
from ..store.http.history_payloads import AddMarkBody
from ..store.list_rules import queue_size, worker_size
from ..store.page_walk import read_schedule
from ..store.protocol import Store
from ..store.schedule_rules import rule_of
from .audit import RepeatedActions, action_of, audit_line
from .auth import Authenticator
from .authorization import Authorizer
from .enqueue_api import EnqueueApi
from .hint_api import HintApi
from .http_io import PiecewiseResponse, json_response, page_response, read_bytes
from .hub import Hub
from .inline_commit import InlineCommit
from .job_api import JobApi
from .lookup_api import LookupApi
from .metrics_api import MetricsApi
from .pause_api import PauseApi
from .request import ApiRequest
from .scale_api import ScaleApi
from .server_config import ServerConfig
from .shown_jobs import ShownJobs
from .visibility import queues_named, visible_workers
from .worker_api import WorkerApi

Handler = Callable[[ApiRequest], Awaitable[Response]]

VERSION = version("conveyor")


class Handlers:
    """Answers calls, and writes the audit log."""

    def __init__(
        self,
        *,
        store: Store,
        authenticator: Authenticator,
        authorizer: Authorizer,
        hub: Hub,
        config: ServerConfig,
        inline_commit: InlineCommit,
    ) -> None:
        self._store = store
        self._config = config
        self._repeated = RepeatedActions(elapsed)
        self._enqueue = EnqueueApi(
            store=store,
            authenticator=authenticator,
            authorizer=authorizer,
            config=config,
            inline_commit=inline_commit,
        )
        workers = WorkerApi(
            store=store,
            authenticator=authenticator,
            hub=hub,
            lease_owners=authorizer.lease_owners,
            config=config,
            inline_commit=inline_commit,
        )
        scale = ScaleApi(store)
        self._handlers: dict[str, Handler] = {
            "insert": self._enqueue.insert,
            "tick": self._enqueue.tick,
            "put_tasks": self._enqueue.put_tasks,
            "claim": workers.claim,
            "exchange": workers.exchange,
            "decline": workers.decline,
            "settle": workers.settle,
            "extend": workers.extend,
            "extend_worker": workers.extend_worker,
            "beat": workers.beat,
            "workers": self._workers,
            "counts": self._counts,
            "copy_job": self._enqueue.copy_job,
            **_for_dashboards(store, config),
            "load": scale.load,
            "scale": scale.scale,
            "metrics": MetricsApi(store).metrics,
            "write_content": self._write_content,
            "read_content": self._read_content,
            "note_action": self._note_action,
            "add_mark": self._add_mark,
            "put_schedule": self._put_schedule,
            "terms": self._terms,
            "hints": HintApi(authenticator, authorizer, hub).hints,
        }

    def close(self) -> None:
        """Stop listening to the store."""
        self._enqueue.close()

    async def handle(self, request: ApiRequest) -> Response:
        """Answer one call, and note it in the audit log if it did something."""
        handler = self._handlers.get(request.call.name, self._call_store)
        response = await handler(request)
        if not request.call.audit_name:  # a stream of hints has no body to look at
            return response
        line = audit_line(request, bytes(response.body))
        if line is not None and self._repeated.is_due(line):
            await self._store.note_action([line])
        return response

    async def _call_store(self, request: ApiRequest) -> Response:
        call = request.call
        method = getattr(self._store, call.name)
        if call.cursor:
            return await self._list_page(request, method)
        found = await method(**request.arguments())
        if call.response is None:
            return Response(status_code=204)
        return json_response(found if call.encode is None else call.encode(found))

    async def _list_page(self, request: ApiRequest, method: Callable[..., Any]) -> Response:
        """Return a page of a list."""
        call = request.call
        return page_response(call, await method(**request.arguments()))

    async def _counts(self, request: ApiRequest) -> Response:
        visible = request.principal.queues
        if not visible:
            return await self._list_page(request, self._store.counts)
        query: list_queries.ListQuery = request.body
        named = queues_named(self._store, visible, after=query.after)
        queues = [each async for each in named]
        return page_response(request.call, cut_page(queues, query.limit, queue_size))

    async def _workers(self, request: ApiRequest) -> Response:
        visible = request.principal.queues
        if not visible:
            return await self._list_page(request, self._store.workers)
        query: list_queries.ListQuery = request.body
        found: list[WorkerInfo] = []
        page = await self._store.workers(after=query.after)
        while page.more and len(found) <= query.limit:
            found += visible_workers(page, visible)
            page = await self._store.workers(after=page[-1].id)
        found += visible_workers(page, visible)
        return page_response(request.call, cut_page(found, query.limit, worker_size))

    async def _write_content(self, request: ApiRequest) -> Response:
        body: payloads.PieceQuery = request.body
        # The store checks the size of a piece. This only limits how much is read.
        data = await read_bytes(request.http, 2 * PIECE, request.space)
        digest = request.path["digest"]
        found = await self._store.write_content(digest, body.offset, data, last=body.last)
        return json_response(found)

    async def _read_content(self, request: ApiRequest) -> Response:
        body: payloads.BytesQuery = request.body
        data = await self._store.read_content(request.path["digest"], body.offset, body.limit)
        return PiecewiseResponse(data, media_type="application/octet-stream")

    async def _note_action(self, request: ApiRequest) -> Response:
        """Append to the audit log, under the name of the token if there is one."""
        body: payloads.NoteActionBody = request.body
        principal = request.principal
        actions = [
            each
            if principal.token is None
            else msgspec.structs.replace(each, who=principal.name, where=principal.address)
            for each in body.actions
        ]
        await self._store.note_action(actions)
        return Response(status_code=204)

    async def _add_mark(self, request: ApiRequest) -> Response:
        """Add a note to the history, under the name of the token if there is one."""
        body: AddMarkBody = request.body
        principal = request.principal
        who = principal.name if principal.token is not None or not body.who else body.who
        return json_response(await self._store.add_mark(body.text, who=who))

    async def _put_schedule(self, request: ApiRequest) -> Response:
        """Add or change a schedule; applications repeat theirs, which is no entry of the audit."""
        body: payloads.PutScheduleBody = request.body
        put = body.schedule
        before = await read_schedule(AsyncCalls(), self._store, put.name)
        response = await self._call_store(request)
        if before is None or rule_of(before) != rule_of(put):
            line = action_of(request, "put schedule", f"{put.cron} {put.timezone}", put.name)
            await self._store.note_action([line])
        return response

    async def _terms(self, request: ApiRequest) -> Response:
        token = request.principal.token
        return json_response(
            payloads.ServerTerms(
                version=VERSION,
                now=self._store.now(),
                lease_for=self._config.lease_for,
                hold=self._config.hold,
                beat=self._config.beat,
                token=None if token is None else token.id,
            )
        )


def _for_dashboards(store: Store, config: ServerConfig) -> dict[str, Handler]:
    """Return the handlers of what is for people to look at."""
    pauses = PauseApi(store)
    shown = ShownJobs(store, config.masked_keys)
    jobs = JobApi(store, config.masked_keys)
    lookups = LookupApi(store, config)
    return {
        "set_paused": pauses.set_paused,
        "pause_schedule": pauses.pause_schedule,
        "get": shown.get,
        "find": shown.find,
        "why": jobs.why,
        "job_args": jobs.job_args,
        "search_output": jobs.search_output,
        "suggest": lookups.suggest,
        "schedule_outlook": lookups.schedule_outlook,
        "scaler": lookups.scaler,
    }
