"""Long polling: a worker's claim waits at the server until there is a job for it.

A worker claims when it has free slots, and expects an answer at once. When there is no job, a
second claim is sent that the server holds until a job comes. The jobs it brings are buffered here,
and a hint makes the worker claim again, which then finds them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from ...core.event_log import open_event_log
from ...core.job import JobRecord, State
from ...core.lifecycle import Interrupted
from ...core.loop_backoff import DoublingBackoff
from ...core.timeout import wait_for_event
from ...errors import AccessError, ConveyorError
from ..messages import Claimant, Exchanged, Report, Want
from .api import STORE_CALLS
from .client import HttpClient
from .payloads import ClaimBody, ExchangeBody, SettleBody
from .report_parts import report_parts
from .wire import decode_exchanged, encode_report

log = open_event_log("claims")

MIN_PAUSE, MAX_PAUSE = 0.1, 2.0
# Seconds for which a server holds a claim at least, unless it was asked for less than twice that.
SHORTEST_HOLD = 1.0
# Seconds to wait for the answer to a claim whose end was requested.
END_TIMEOUT = 2.0

# Called with the queues of jobs that have arrived.
OnJobs = Callable[[tuple[str, ...]], None]


class LongPolls:
    """The waiting claims of one store, one for each worker. Used in the client's thread only.

    `hold` returns for how many seconds the server may hold a claim.
    """

    def __init__(self, client: HttpClient, hold: Callable[[], float], on_jobs: OnJobs) -> None:
        self._client = client
        self._hold = hold
        self._on_jobs = on_jobs
        self._polls: dict[str, _LongPoll] = {}

    async def exchange(
        self, reports: Sequence[Report], wants: Sequence[Want], claimant: Claimant, limit: int
    ) -> Exchanged:
        """Report and claim; if there is no job, start a long poll."""
        *parts, last = report_parts(reports)
        if not parts:
            return await self._exchange_part(last, wants, claimant, limit)
        settled: list[str] = []
        became: dict[str, State] = {}
        for part in parts:
            found = await self._settle(part)
            settled += found.settled
            became |= found.became
        answer = await self._exchange_part(last, wants, claimant, limit)
        return Exchanged((*settled, *answer.settled), answer.jobs, became | answer.became)

    async def _exchange_part(
        self, reports: Sequence[Report], wants: Sequence[Want], claimant: Claimant, limit: int
    ) -> Exchanged:
        if not wants or limit <= 0:
            return await self._settle(reports)
        poll = self._polls.get(claimant.worker)
        if poll is None:
            poll = self._polls[claimant.worker] = _LongPoll(self._client, self._hold, self._on_jobs)
        buffered = poll.take_jobs(limit)
        is_complete = bool(buffered) and limit <= poll.limit
        if not reports and (is_complete or poll.is_waiting_for(wants, claimant, limit)):
            return Exchanged((), tuple(buffered))
        try:
            answer = await self._exchange(reports, wants, claimant, limit - len(buffered))
        except ConveyorError:
            poll.put_back(buffered)
            raise
        # The server has ended the long poll in favour of this claim, but it may have brought jobs.
        await poll.wait_until_ended()
        jobs = [*buffered, *answer.jobs]
        jobs += poll.take_jobs(limit - len(jobs))
        was_declined = self._polls.get(claimant.worker) is not poll
        if not jobs and not was_declined:
            poll.start(wants, claimant, limit)
        return Exchanged(answer.settled, tuple(jobs), answer.became)

    async def decline(self, worker: str) -> None:
        """End a worker's long poll, and return the jobs that it has brought."""
        poll = self._polls.pop(worker, None)
        if poll is None:
            return
        await poll.end(worker)
        jobs = poll.take_jobs(None)
        if jobs:
            await self._settle([Report(job.id, job.lease, Interrupted()) for job in jobs])

    async def _settle(self, reports: Sequence[Report]) -> Exchanged:
        body = SettleBody(reports=list(map(encode_report, reports)))
        return decode_exchanged(await self._client.call(STORE_CALLS["settle"], body=body))

    async def _exchange(
        self, reports: Sequence[Report], wants: Sequence[Want], claimant: Claimant, limit: int
    ) -> Exchanged:
        if not limit:
            return await self._settle(reports)
        body = ExchangeBody(
            reports=list(map(encode_report, reports)),
            wants=list(wants),
            limit=limit,
            lease_for=claimant.lease_for,
            labels=claimant.labels,
            confirm_within=claimant.confirm_within,
        )
        path = {"worker": claimant.worker}
        return decode_exchanged(await self._client.call(STORE_CALLS["exchange"], path, body))


class _LongPoll:
    """The long poll of one worker, and the jobs that it has brought."""

    def __init__(self, client: HttpClient, hold: Callable[[], float], on_jobs: OnJobs) -> None:
        self._client = client
        self._hold = hold
        self._on_jobs = on_jobs
        self._jobs: list[JobRecord] = []
        self._task: asyncio.Task[None] | None = None
        self._waits_for: object = None
        self._ended = asyncio.Event()
        self.limit = 0

    def is_waiting_for(self, wants: Sequence[Want], claimant: Claimant, limit: int) -> bool:
        """Whether the poll waits for exactly these jobs."""
        is_running = self._task is not None and not self._task.done()
        return is_running and self._waits_for == _key(wants, claimant, limit)

    def start(self, wants: Sequence[Want], claimant: Claimant, limit: int) -> None:
        """Poll until jobs come."""
        self._waits_for = _key(wants, claimant, limit)
        self.limit = limit
        self._ended.clear()
        self._task = asyncio.create_task(self._run(wants, claimant, limit))

    def take_jobs(self, limit: int | None) -> list[JobRecord]:
        """Remove and return at most `limit` of the jobs that have arrived; all if None."""
        taken = self._jobs[:limit]
        del self._jobs[: len(taken)]
        return taken

    def put_back(self, jobs: Sequence[JobRecord]) -> None:
        """Put jobs back in front of those that have arrived."""
        self._jobs[:0] = jobs

    async def end(self, worker: str) -> None:
        """Make the server end the poll, and wait for that."""
        self._ended.set()
        if self._task is not None and not self._task.done():
            await self._client.call(STORE_CALLS["decline"], {"worker": worker})
            await self.wait_until_ended()

    async def wait_until_ended(self) -> None:
        """Wait for the end of a poll whose end was requested from the server."""
        self._ended.set()
        task, self._task = self._task, None
        if task is not None:
            await asyncio.wait([task], timeout=END_TIMEOUT)
            task.cancel()  # it may be in the pause after an error

    async def _run(self, wants: Sequence[Want], claimant: Claimant, limit: int) -> None:
        backoff = DoublingBackoff(MIN_PAUSE, MAX_PAUSE, jitter=0.5)
        while not self._ended.is_set():
            body = ClaimBody(
                wants=list(wants),
                limit=limit,
                lease_for=claimant.lease_for,
                labels=claimant.labels,
                confirm_within=claimant.confirm_within,
                wait=self._hold(),
            )
            asked_at = time.monotonic()
            try:
                answer = await self._client.call(
                    STORE_CALLS["claim"], {"worker": claimant.worker}, body, wait=body.wait
                )
            except AccessError:
                self._on_jobs(())  # the next claim meets it too, and the worker learns it from that
                return
            except ConveyorError as error:
                pause = backoff.next_pause()
                log.warning("claim.failed retry_in=%.1f error=%s", pause, error)
                await asyncio.sleep(pause)
                continue
            if answer.jobs:
                self._jobs += decode_exchanged(answer).jobs
                self._on_jobs(tuple({job.queue for job in answer.jobs}))
                return
            if time.monotonic() - asked_at < min(SHORTEST_HOLD, body.wait / 2):
                # The server does not hold claims, or has ended this one for another.
                await wait_for_event(self._ended, backoff.next_pause())
            else:
                backoff.reset()


def _key(wants: Sequence[Want], claimant: Claimant, limit: int) -> object:
    # Without the order of the queues, which is drawn at random for each claim.
    return frozenset(want.queue for want in wants), claimant, limit
