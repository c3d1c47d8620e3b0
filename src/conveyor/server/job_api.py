"""The handlers that show one job: why it waits, its arguments without secrets, its output."""

from __future__ import annotations

from collections.abc import Collection

from starlette.responses import Response

from ..core.explain import explain, explain_offer
from ..core.explain_parts import explain_parts
from ..core.job import OutputChunk, QueueInfo, State
from ..core.secret_mask import mask_args
from ..errors import NotFoundError
from ..store.call_style import AsyncCalls
from ..store.http.inspection_payloads import (
    ArgsQuery,
    Explanation,
    FoundLine,
    FoundLines,
    JobArgs,
    SearchQuery,
)
from ..store.page_walk import read_workers
from ..store.protocol import Store
from .http_io import json_response
from .output_search import OutputSearch
from .request import ApiRequest
from .visible_workers import visible_workers

# Larger arguments are only shown if that is asked for, in bytes of JSON.
SHOWN_ARGS = 64 << 10
# How much output a search reads in one call, in bytes, and how many chunks at once.
SEARCHED_OUTPUT, CHUNKS = 4 << 20, 200


class JobApi:
    """Answers the calls `why`, `job_args` and `search_output`."""

    def __init__(self, store: Store, masked_keys: Collection[str]) -> None:
        self._store = store
        self._masked_keys = masked_keys

    async def why(self, request: ApiRequest) -> Response:
        """Explain the state of a job, or of a request that waits for room in its queue."""
        job_id = request.path["job_id"]
        try:
            job = await self._store.get(job_id)
        except NotFoundError:
            queue = await self._store.offered(job_id)
            if queue is None:
                raise
            return _explanation(explain_offer(queue), [queue.name], ())
        # The queue of a damaged job may be unknown, and does not matter.
        unknown = QueueInfo(name=job.queue, capacity=None, paused=False, counts={})
        info = unknown if job.damage else await self._store.queue_info(job.queue)
        ahead = await self._store.ahead(job_id) if job.state is State.AVAILABLE else None
        workers = visible_workers(
            await read_workers(AsyncCalls(), self._store), request.principal.queues
        )
        text = explain(job, queue=info, ahead=ahead or 0, workers=workers, now=self._store.now())
        known = {each.id for each in workers} | ({job.worker} if job.worker else set[str]())
        return _explanation(text, [job.queue], known, ahead)

    async def job_args(self, request: ApiRequest) -> Response:
        """Show the arguments of a job without their secrets."""
        query: ArgsQuery = request.body
        job = await self._store.get(request.path["job_id"])
        size = len(job.args)
        shown = mask_args(job.args, self._masked_keys)
        if shown is None or (size > SHOWN_ARGS and not query.whole):
            return json_response(JobArgs(args=None, masked=[], size=size, omitted=True))
        return json_response(JobArgs(args=shown.value, masked=shown.masked, size=size))

    async def search_output(self, request: ApiRequest) -> Response:
        """Search a part of the output of a job."""
        query: SearchQuery = request.body
        search = OutputSearch(query.text)
        lines: list[FoundLine] = []
        after, size = query.after, 0
        last: OutputChunk | None = None
        while True:
            page = await self._store.output(request.path["job_id"], after=after, limit=CHUNKS)
            for chunk in page:
                lines += search.feed(chunk)
                last, after = chunk, chunk.seq
                size += len(chunk.data)
                if len(lines) >= query.limit or size >= SEARCHED_OUTPUT:
                    is_end = not page.more and chunk is page[-1]
                    if not is_end:
                        return json_response(FoundLines(lines=lines, next=after))
            if not page.more:
                break
        if last is not None:
            lines += search.end(last)
        return json_response(FoundLines(lines=lines))


def _explanation(
    text: str, queues: Collection[str], workers: Collection[str], ahead: int | None = None
) -> Response:
    parts = explain_parts(text, queues=queues, workers=workers)
    return json_response(Explanation(text=text, parts=parts, ahead=ahead))
