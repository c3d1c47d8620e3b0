"""Settling and claiming in one round trip, where little has to be decided.

This does what `exchange` of the shared operations does, for attempts that succeeded and for jobs
that can be read and may run. If there is anything else, nothing is written, and the shared
operation runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from itertools import accumulate, chain
from time import monotonic
from typing import Any
from zlib import crc32

from ...core import lifecycle
from ...core.job import JobRecord
from ...core.labels import serves
from ...core.lifecycle import Succeeded
from ...core.page import PAGE_BYTES
from ...errors import UnavailableError
from ..lease_rules import lease_terms
from ..messages import Claimant, Exchanged, Hint, Report, Want
from ..sql.operations.discards import discard_damaged
from ..sql.rows import ID, LANE, PRIORITY, RUN_AT, SEQ, Row, decode_labels, to_record
from ..sql.transaction import Tx
from .floors import HIGHEST, START, Floors
from .transactions import Transactions
from .vacuum import Vacuum

_PLACES = "lane_all", "rank_all", "run_at_all", "seq_all", "until_rank_all"
# For how many sets of labels it keeps which lanes they serve.
MOST_SERVING = 100


class QuickExchange:
    """The exchanges of one process, with the lanes of queues as it knows them."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._lanes: dict[str, list[tuple[int, frozenset[str] | None]]] = {}
        self._queues: dict[int, str] = {}
        # The lanes of queues by the labels of who claims, because some serve a thousand queues.
        self._serving: dict[frozenset[str], dict[str, list[int]]] = {}
        self._floors = Floors()
        self._vacuum = Vacuum(transactions)

    def run(
        self, reports: Sequence[Report], wants: Sequence[Want], claimant: Claimant, *, limit: int
    ) -> Exchanged:
        """Settle successes, then claim the next jobs; UndecidedError if nothing was written."""
        self._learn([want.queue for want in wants if want.queue not in self._lanes])
        served = self._served(wants, claimant.labels)
        used = self._floors.usable(chain.from_iterable(served), monotonic())
        settled, jobs = self._call(reports, wants, served, claimant, limit, used)
        if used and len(jobs) < limit:
            wants, left = _rest(wants, jobs), limit - len(jobs)
            with suppress(UnavailableError):  # the next claim looks from the start, too
                jobs += self._call((), wants, served, claimant, left, frozenset())[1]
        if settled or jobs:
            self._vacuum.note()
            self._transactions.tell(*([Hint("final", settled)] if settled else ()))
        return Exchanged(settled, tuple(jobs))

    def forget(self, queues: Collection[str]) -> None:
        """Look again at the lanes of these queues when they are needed."""
        for queue in queues:
            self._lanes.pop(queue, None)
        self._serving.clear()

    def _learn(self, queues: Sequence[str]) -> None:
        async def look(tx: Tx) -> dict[str, list[Row]]:
            return {queue: await tx.rows("lanes", (queue,)) for queue in queues}

        if queues:
            for queue, rows in self._transactions.run(look, reads=True).items():
                self._lanes[queue] = [(lane, _labels(requires)) for lane, requires in rows]
                self._queues.update((lane, queue) for lane, _ in rows)

    def _served(self, wants: Sequence[Want], labels: frozenset[str]) -> list[list[int]]:
        """Return the lanes of each queue whose jobs a worker with these labels can run."""
        known = self._serving.get(labels)
        if known is None:
            if len(self._serving) >= MOST_SERVING:
                self._serving.clear()
            known = self._serving[labels] = {}
        return [
            known[want.queue] if want.queue in known else self._look_up(want.queue, labels, known)
            for want in wants
        ]

    def _look_up(
        self, queue: str, labels: frozenset[str], known: dict[str, list[int]]
    ) -> list[int]:
        lanes = self._lanes.get(queue)
        served = [
            lane
            for lane, required in lanes or ()
            if required is not None and serves(labels, required)
        ]
        if lanes is not None:
            known[queue] = served
        return served

    def _call(
        self,
        reports: Sequence[Report],
        wants: Sequence[Want],
        served: Sequence[Sequence[int]],
        claimant: Claimant,
        limit: int,
        used: frozenset[int],
    ) -> tuple[tuple[str, ...], list[JobRecord]]:
        """Return the ids of the jobs that were settled, and the jobs that were claimed."""
        planned = self._plan(wants, served, claimant, limit, used) | _settling(reports)
        began = monotonic()
        answer = self._transactions.run_marked("exchange_plain", planned)
        ended = monotonic()
        if isinstance(answer, str):
            lost, jobs = self._recall(answer)
        else:
            first = _first_claimed(answer)
            lost, rows = [row[ID] for row in answer[1:first]], answer[first:]
            self._floors.note(
                [(row[LANE], (~row[PRIORITY], row[RUN_AT], row[SEQ])) for row in rows],
                chain.from_iterable(served),
                used,
                full=len(rows) == limit,
                took=ended - began,
                now=ended,
            )
            terms = lease_terms(claimant, answer[0][RUN_AT])
            read = [to_record(row, self._queues[row[LANE]]) for row in rows]
            jobs = [lifecycle.claim(job, terms) for job in read]
        gone = set(lost)
        settled = dict.fromkeys(each.id for each in reports if each.id not in gone)
        return tuple(settled), _ordered(self._without_damaged(jobs), wants)

    def _plan(
        self,
        wants: Sequence[Want],
        served: Sequence[Sequence[int]],
        claimant: Claimant,
        limit: int,
        used: frozenset[int],
    ) -> dict[str, Any]:
        terms = lease_terms(claimant, 0.0)
        places, sizes = self._places(served, used)
        ends = list(accumulate(sizes))
        return {
            "worker": claimant.worker if wants else "",
            "queue_all": [want.queue for want in wants],
            "known_all": [len(self._lanes.get(want.queue, ())) for want in wants],
            "limit_all": [want.limit for want in wants],
            "first_all": [end - size + 1 for end, size in zip(ends, sizes, strict=True)],
            "last_all": ends,
            **places,
            "limit": limit,
            "size": PAGE_BYTES,
            "lasting": terms.until,
            "starts": terms.started_at is not None,
        }

    def _places(
        self, served: Sequence[Sequence[int]], used: frozenset[int]
    ) -> tuple[dict[str, list[Any]], list[int]]:
        """Return where to begin in the lanes, and in how many places of each queue."""
        if not used:
            lanes = list(chain.from_iterable(served))
            columns: list[list[Any]] = [lanes, *([each] * len(lanes) for each in (*START, HIGHEST))]
            return dict(zip(_PLACES, columns, strict=True)), list(map(len, served))
        parts_of = [
            [
                (lane, *place, until)
                for lane in lanes
                for place, until in self._floors.parts(lane, used)
            ]
            for lanes in served
        ]
        # Some floor is used, so there is a part.
        columns = [list(each) for each in zip(*chain.from_iterable(parts_of), strict=True)]
        return dict(zip(_PLACES, columns, strict=True)), list(map(len, parts_of))

    def _without_damaged(self, jobs: list[JobRecord]) -> list[JobRecord]:
        damaged = [job.id for job in jobs if job.damage]
        if damaged:
            with suppress(UnavailableError):
                # Otherwise they are discarded once their leases have lapsed.
                self._discard(damaged)
        return [job for job in jobs if not job.damage]

    def _discard(self, ids: Sequence[str]) -> None:
        """Discard jobs that turned out to be damaged once they had been claimed."""

        async def discard(tx: Tx) -> None:
            await tx.lock_jobs(ids)
            for job_id in ids:
                for row in await tx.rows("get", (job_id,)):
                    job = to_record(row, await tx.queue_of(row[LANE]))
                    if job.damage and not job.is_final:
                        await discard_damaged(tx, job)

        self._transactions.run(discard, reads=False)

    def _recall(self, mark: str) -> tuple[list[str], list[JobRecord]]:
        """Return what the answer that was lost said, as far as it is still so."""

        async def look(tx: Tx) -> tuple[list[str], list[JobRecord]]:
            [(lost,)] = await tx.rows("recalled", (mark,))
            rows = await tx.rows("recalled_jobs", (mark,))
            return lost, [to_record(row, await tx.queue_of(row[LANE])) for row in rows]

        return self._transactions.run(look, reads=True)


def _first_claimed(rows: Sequence[Row]) -> int:
    """Return where the claimed jobs begin: after the time, and the reports that came too late."""
    first = 1
    while first < len(rows) and rows[first][SEQ] is None:
        first += 1
    return first


def is_plain(reports: Sequence[Report]) -> bool:
    """Whether all attempts succeeded, with results that can be stored."""
    return all(
        isinstance(report.outcome, Succeeded) and lifecycle.fits(report.outcome)
        for report in reports
    )


def _rest(wants: Sequence[Want], jobs: Sequence[JobRecord]) -> list[Want]:
    """Return what is still wanted of each queue."""
    counts = Counter(job.queue for job in jobs)
    return [Want(want.queue, want.limit - counts[want.queue]) for want in wants]


def _ordered(jobs: list[JobRecord], wants: Sequence[Want]) -> list[JobRecord]:
    """Return jobs in the order of the queues that are wanted, and of each queue as they are."""
    places = {want.queue: number for number, want in enumerate(wants)}
    return jobs if len(wants) < 2 else sorted(jobs, key=lambda job: places[job.queue])


def _settling(reports: Sequence[Report]) -> dict[str, Any]:
    results = [report.outcome.result for report in reports if isinstance(report.outcome, Succeeded)]
    return {
        "id_all": [report.id for report in reports],
        "lease_all": [report.lease for report in reports],
        "result_all": results,
        "checksum_all": [None if result is None else crc32(result) for result in results],
    }


def _labels(requires: str) -> frozenset[str] | None:
    labels = decode_labels(requires)
    return None if labels is None else frozenset(labels)
