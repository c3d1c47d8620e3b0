"""The handlers that look things up for a dashboard: suggestions, schedules in words, the scaler."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from starlette.responses import Response

from ..core import cron
from ..core.cron_words import describe_schedule
from ..core.job import ScheduleInfo
from ..core.unreadable import UNREADABLE
from ..errors import NotFoundError, UsageError
from ..store.call_style import AsyncCalls
from ..store.http.inspection_payloads import (
    Outlook,
    ScaledQuery,
    ScalerView,
    ScheduledJob,
    Suggested,
    SuggestQuery,
)
from ..store.messages import Filter
from ..store.page_walk import read_queues, read_schedule, read_workers
from ..store.protocol import Store
from ..store.schedule_rules import no_schedule
from .http_io import json_response
from .request import ApiRequest
from .server_config import ServerConfig
from .visible_workers import visible_workers

# How many ticks of a schedule are listed.
TICKS = 3
# Among how many of the newest jobs tasks are looked for, and of how many lanes labels.
NEWEST_JOBS, LANES = 1000, 10_000


class LookupApi:
    """Answers the calls `suggest`, `schedule_outlook` and `scaler`."""

    def __init__(self, store: Store, config: ServerConfig) -> None:
        self._store = store
        self._config = config

    async def suggest(self, request: ApiRequest) -> Response:
        """Suggest names that have a text in them."""
        query: SuggestQuery = request.body
        visible = request.principal.queues
        match query.kind:
            case "queue":
                names = await self._queues(visible)
            case "worker":
                workers = await read_workers(AsyncCalls(), self._store)
                of_queue = (query.queue,) if query.queue is not None else visible
                names = {each.id for each in visible_workers(workers, of_queue)}
            case "task":
                names = await self._tasks(query.queue)
            case "label":
                names = await self._labels(query.queue)
        return json_response(Suggested(best_matches(names, query.text, query.limit)))

    async def _queues(self, visible: tuple[str, ...]) -> set[str]:
        if visible:
            return set(visible)
        return {each.name for each in await read_queues(AsyncCalls(), self._store)}

    async def _tasks(self, queue: str | None) -> set[str]:
        jobs = await self._store.find(Filter(queue=queue), limit=NEWEST_JOBS)
        names = {job.task for job in jobs}
        return names if queue is not None else names | set(self._config.tasks)

    async def _labels(self, queue: str | None) -> set[str]:
        loads = await self._store.load(limit=LANES, queue=queue)
        workers = await read_workers(AsyncCalls(), self._store)
        of_workers = (
            label
            for each in workers
            if queue is None or queue in each.queues
            for label in each.labels
        )
        return {label for load in loads for label in load.requires} | set(of_workers)

    async def schedule_outlook(self, request: ApiRequest) -> Response:
        """Show a schedule in words, with its next ticks and its last jobs."""
        name = request.path["name"]
        schedule = await read_schedule(AsyncCalls(), self._store, name)
        if schedule is None:
            raise no_schedule(name)
        outcomes: list[ScheduledJob] = []
        for job_id in await self._store.recent_jobs(name):
            try:
                job = await self._store.get(job_id)
            except NotFoundError:  # it has been deleted meanwhile
                continue
            outcomes.append(
                ScheduledJob(
                    id=job.id,
                    state=job.state,
                    enqueued_at=job.enqueued_at,
                    final_at=job.final_at,
                )
            )
        words, ticks = _outlook(schedule)
        return json_response(Outlook(schedule=schedule, words=words, next=ticks, outcomes=outcomes))

    async def scaler(self, request: ApiRequest) -> Response:
        """Show what the autoscaler last decided."""
        query: ScaledQuery = request.body
        leader = await self._store.leader(query.name)
        if leader is None:
            return json_response(ScalerView())
        try:
            status = msgspec.json.decode(leader.note)["status"]
        except (KeyError, TypeError, *UNREADABLE):
            status = None
        return json_response(
            ScalerView(
                leader=msgspec.structs.replace(leader, note=""),
                is_current=leader.until >= self._store.now(),
                status=status,
            )
        )


def best_matches(names: Iterable[str], text: str, limit: int) -> list[str]:
    """Return the names that have a text in them, whatever its case: those that begin with it first.

    Then shorter ones come before longer ones, and by name.
    """
    sought = text.casefold()
    found = [name for name in names if sought in name.casefold()]
    found.sort(key=lambda name: (not name.casefold().startswith(sought), len(name), name))
    return found[:limit]


def _outlook(schedule: ScheduleInfo) -> tuple[str, list[float]]:
    """Return the rule of a schedule in words, and its next ticks."""
    try:
        rule = cron.parse(schedule.cron, schedule.timezone)
    except UsageError:  # its row is damaged
        return f"{schedule.cron} ({schedule.timezone})", []
    ticks = [schedule.next_at]
    while len(ticks) < TICKS:
        ticks.append(cron.next_tick(rule, ticks[-1]))
    return describe_schedule(schedule.cron, schedule.timezone), ticks
