"""Claims that wait at the server: one standing question for a worker, instead of asking often.

A worker asks when it has room, and expects an answer at once. When there is nothing, the question
is left standing at the server, which answers it when a job comes. What it brings is kept here until
the worker asks again, which a hint has it do at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from ...core.backoff import DoublingBackoff
from ...core.job import JobRecord
from ...core.lifecycle import Interrupted
from ...errors import ConveyorError
from ..messages import Claimant, Exchanged, Report, Want
from .api import CALLS
from .client import Line
from .payloads import Claim, Exchange, Settle
from .wire import exchanged_of, report_view

log = logging.getLogger("conveyor.claiming")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
# How long an ended question may take to be answered, in seconds.
END = 2.0


class Questions:
    """The standing questions of one store, one for each worker. Used within the line's thread.

    `hold` tells how long the server is to hold a question, in seconds; `tell` is called with the
    queues of jobs that have come.
    """

    def __init__(
        self, line: Line, hold: Callable[[], float], tell: Callable[[tuple[str, ...]], None]
    ) -> None:
        self._line = line
        self._hold = hold
        self._tell = tell
        self._standing: dict[str, _Question] = {}

    async def exchange(
        self, reports: Sequence[Report], wants: Sequence[Want], who: Claimant, limit: int
    ) -> Exchanged:
        """Report and claim; when there is nothing to claim, leave the question standing."""
        if not wants or limit <= 0:
            return await self._settle(reports)
        question = self._standing.get(who.worker)
        if question is None:
            question = self._standing[who.worker] = _Question(self._line, self._hold, self._tell)
        came = question.take(limit)
        all_came = bool(came) and limit <= question.limit
        if not reports and (all_came or question.stands(wants, who, limit)):
            return Exchanged((), tuple(came))
        try:
            answer = await self._ask(reports, wants, who, limit - len(came))
        except ConveyorError:
            question.put_back(came)
            raise
        # This newer claim has ended the standing one; what that has brought all the same is ours.
        await question.ended()
        jobs = [*came, *answer.jobs]
        jobs += question.take(limit - len(jobs))
        if not jobs and self._standing.get(who.worker) is question:  # else declined meanwhile
            question.stand(wants, who, limit)
        return Exchanged(answer.settled, tuple(jobs))

    async def decline(self, worker: str) -> None:
        """End a worker's question, and give back what it has brought meanwhile."""
        question = self._standing.pop(worker, None)
        if question is None:
            return
        await question.end(worker)
        back = question.take(None)
        if back:
            await self._settle([Report(job.id, job.lease, Interrupted()) for job in back])

    async def _settle(self, reports: Sequence[Report]) -> Exchanged:
        body = Settle(reports=list(map(report_view, reports)))
        return exchanged_of(await self._line.ask(CALLS["settle"], body=body))

    async def _ask(
        self, reports: Sequence[Report], wants: Sequence[Want], who: Claimant, limit: int
    ) -> Exchanged:
        if not limit:
            return await self._settle(reports)
        body = Exchange(
            reports=list(map(report_view, reports)),
            wants=list(wants),
            limit=limit,
            lease_for=who.lease_for,
            labels=who.labels,
            confirm_within=who.confirm_within,
        )
        return exchanged_of(await self._line.ask(CALLS["exchange"], {"worker": who.worker}, body))


class _Question:
    """What one worker has asked and was not answered yet, and the jobs that have come for it."""

    def __init__(
        self, line: Line, hold: Callable[[], float], tell: Callable[[tuple[str, ...]], None]
    ) -> None:
        self._line = line
        self._hold = hold
        self._tell = tell
        self._came: list[JobRecord] = []
        self._task: asyncio.Task[None] | None = None
        self._wished: object = None
        self.limit = 0
        self._wanted = False

    def stands(self, wants: Sequence[Want], who: Claimant, limit: int) -> bool:
        """Whether just this is being asked."""
        asking = self._task is not None and not self._task.done()
        return asking and self._wished == _wished(wants, who, limit)

    def stand(self, wants: Sequence[Want], who: Claimant, limit: int) -> None:
        """Ask, until jobs come."""
        self._wished = _wished(wants, who, limit)
        self.limit = limit
        self._wanted = True
        self._task = asyncio.create_task(self._ask(wants, who, limit))

    def take(self, limit: int | None) -> list[JobRecord]:
        """Return the jobs that have come, at most so many."""
        taken = self._came[:limit]
        del self._came[: len(taken)]
        return taken

    def put_back(self, jobs: Sequence[JobRecord]) -> None:
        """Keep jobs for the next time."""
        self._came[:0] = jobs

    async def end(self, worker: str) -> None:
        """Have the server end the question, and wait for that."""
        self._wanted = False
        if self._task is not None and not self._task.done():
            await self._line.ask(CALLS["decline"], {"worker": worker})
            await self.ended()

    async def ended(self) -> None:
        """Wait until the question has ended, as the server was told to end it."""
        self._wanted = False
        task, self._task = self._task, None
        if task is not None:
            await asyncio.wait([task], timeout=END)
            task.cancel()  # while it pauses, say

    async def _ask(self, wants: Sequence[Want], who: Claimant, limit: int) -> None:
        backoff = DoublingBackoff(FIRST_PAUSE, LONGEST_PAUSE, jitter=0.5)
        while self._wanted:
            body = Claim(
                wants=list(wants),
                limit=limit,
                lease_for=who.lease_for,
                labels=who.labels,
                confirm_within=who.confirm_within,
                wait=self._hold(),
            )
            try:
                answer = await self._line.ask(
                    CALLS["claim"], {"worker": who.worker}, body, wait=body.wait
                )
            except ConveyorError as error:
                pause = backoff.next_pause()
                log.warning("claim.failed retry_in=%.1f error=%s", pause, error)
                await asyncio.sleep(pause)
                continue
            backoff.reset()
            if answer.jobs:
                self._came += exchanged_of(answer).jobs
                self._tell(tuple({job.queue for job in answer.jobs}))
                return


def _wished(wants: Sequence[Want], who: Claimant, limit: int) -> object:
    # The order of the queues is drawn anew each time, so it is no part of what is asked.
    return frozenset(want.queue for want in wants), who, limit
