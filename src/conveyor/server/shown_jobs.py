"""Jobs as a token may see them: one that may only read sees no secrets in their arguments."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from starlette.responses import Response

from ..core.job import JobRecord, leave_out
from ..core.page import Page
from ..core.secret_mask import mask_args, summary
from ..store.http.list_queries import FindQuery
from ..store.http.wire import JobView, encode_job
from ..store.protocol import Store
from .auth import Principal
from .http_io import json_response, page_response
from .request import ApiRequest


class ShownJobs:
    """Answers the calls `get` and `find`."""

    def __init__(self, store: Store, masked_keys: Collection[str]) -> None:
        self._store = store
        self._masked_keys = masked_keys

    async def get(self, request: ApiRequest) -> Response:
        """Show a job."""
        job = await self._store.get(request.path["job_id"])
        return json_response(encode_job(self._without_secrets(job, request.principal)))

    async def find(self, request: ApiRequest) -> Response:
        """List jobs, with a summary of their arguments if that is asked for."""
        query: FindQuery = request.body
        page = await self._store.find(**request.arguments())
        views = Page[JobView](more=page.more, next=page.next)
        for job in page:
            shown = self._without_secrets(job, request.principal)
            if query.has_summary:
                views.append(self._summarized(shown, keeps_args=query.has_args))
            else:
                views.append(encode_job(shown))
        return page_response(request.call, views, encoded=True)

    def _without_secrets(self, job: JobRecord, principal: Principal) -> JobRecord:
        if principal.sees_secrets or job.args == b"{}":
            return job
        shown = mask_args(job.args, self._masked_keys)
        if shown is None:
            return leave_out(job, {*job.omitted, "args"})
        if not shown.masked:
            return job
        return msgspec.structs.replace(job, args=msgspec.json.encode(shown.value))

    def _summarized(self, job: JobRecord, *, keeps_args: bool) -> JobView:
        text = summary(job.args, self._masked_keys)
        if not keeps_args:
            job = leave_out(job, {*job.omitted, "args"})
        return msgspec.structs.replace(encode_job(job), summary=text)
