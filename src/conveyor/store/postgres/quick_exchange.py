"""Settling and claiming in one round trip, where little has to be decided.

This does what `exchange` of the shared operations does, for attempts that succeeded and for jobs
that can be read and may run. If there is anything else, nothing is written, and the shared
operation runs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import accumulate
from typing import Any
from zlib import crc32

from ...core import lifecycle
from ...core.job import JobRecord
from ...core.labels import serves
from ...core.lifecycle import Succeeded
from ...core.page import PAGE_BYTES
from ..lease_rules import lease_terms
from ..messages import Claimant, Exchanged, Hint, Report, Want
from ..sql.operations.discards import discard_damaged
from ..sql.rows import ID, LANE, RUN_AT, SEQ, Row, decode_labels, to_record
from ..sql.transaction import Tx
from .transactions import Transactions

# The first place of a lane: all that is available has a greater one.
FIRST = (-(1 << 63), float("-inf"), 0)


class QuickExchange:
    """The exchanges of one process, with the lanes of queues as it knows them."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._lanes: dict[str, list[tuple[int, frozenset[str] | None]]] = {}
        self._queues: dict[int, str] = {}

    def run(
        self, reports: Sequence[Report], wants: Sequence[Want], claimant: Claimant, *, limit: int
    ) -> Exchanged:
        """Settle successes, then claim the next jobs; UndecidedError if nothing was written."""
        self._learn([want.queue for want in wants if want.queue not in self._lanes])
        planned = self._plan(wants, claimant, limit) | _settling(reports)
        answer = self._transactions.run_marked("exchange_plain", planned)
        if isinstance(answer, str):
            lost, jobs = self._recall(answer)
        else:
            lost, jobs = self._read(answer, wants, claimant)
        gone = set(lost)
        settled = tuple(dict.fromkeys(each.id for each in reports if each.id not in gone))
        if settled or jobs:
            self._transactions.tell(*([Hint("final", settled)] if settled else ()))
        return Exchanged(settled, tuple(jobs))

    def forget(self, queues: Collection[str]) -> None:
        """Look again at the lanes of these queues when they are needed."""
        for queue in queues:
            self._lanes.pop(queue, None)

    def _learn(self, queues: Sequence[str]) -> None:
        async def look(tx: Tx) -> dict[str, list[Row]]:
            return {queue: await tx.rows("lanes", (queue,)) for queue in queues}

        if queues:
            for queue, rows in self._transactions.run(look, reads=True).items():
                self._lanes[queue] = [(lane, _labels(requires)) for lane, requires in rows]
                self._queues.update((lane, queue) for lane, _ in rows)

    def _plan(self, wants: Sequence[Want], claimant: Claimant, limit: int) -> dict[str, Any]:
        terms = lease_terms(claimant, 0.0)
        known = [self._lanes.get(want.queue, []) for want in wants]
        served = [
            [
                lane
                for lane, labels in lanes
                if labels is not None and serves(claimant.labels, labels)
            ]
            for lanes in known
        ]
        ends = list(accumulate(map(len, served)))
        lanes = [lane for each in served for lane in each]
        return {
            "worker": claimant.worker if wants else "",
            "queue_all": [want.queue for want in wants],
            "known_all": list(map(len, known)),
            "limit_all": [want.limit for want in wants],
            "first_all": [1, *(end + 1 for end in ends[:-1])] if ends else [],
            "last_all": ends,
            "lane_all": lanes,
            "rank_all": [FIRST[0]] * len(lanes),
            "run_at_all": [FIRST[1]] * len(lanes),
            "seq_all": [FIRST[2]] * len(lanes),
            "limit": limit,
            "size": PAGE_BYTES,
            "lasting": terms.until,
            "starts": terms.started_at is not None,
        }

    def _read(
        self, rows: list[Row], wants: Sequence[Want], claimant: Claimant
    ) -> tuple[list[str], list[JobRecord]]:
        """Return the ids whose lease was lost, and the jobs that were claimed."""
        now: float = rows[0][RUN_AT]
        first = 1
        while first < len(rows) and rows[first][SEQ] is None:
            first += 1
        terms, queues = lease_terms(claimant, now), self._queues
        claimed = [(row, to_record(row, queues[row[LANE]])) for row in rows[first:]]
        if len(wants) > 1:
            places = {want.queue: number for number, want in enumerate(wants)}
            claimed.sort(key=lambda each: places[each[1].queue])
        damaged = [job.id for _, job in claimed if job.damage]
        if damaged:
            self._discard(damaged)
        jobs = [lifecycle.claim(job, terms) for _, job in claimed if not job.damage]
        return [row[ID] for row in rows[1:first]], jobs

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


def is_plain(reports: Sequence[Report]) -> bool:
    """Whether all attempts succeeded, with results that can be stored."""
    return all(
        isinstance(report.outcome, Succeeded) and lifecycle.fits(report.outcome)
        for report in reports
    )


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
