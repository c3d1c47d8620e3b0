"""Settling and claiming in two calls, where little has to be decided.

This does what `exchange` of the shared operations does, for attempts that succeeded and for jobs
that can be read and may run. If anything else turns up, the transaction is rolled back, and the
shared operation runs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from zlib import crc32

from ...core import lifecycle
from ...core.job import JobRecord
from ...core.labels import serves
from ...core.lifecycle import Succeeded
from ...core.page import PAGE_BYTES
from ...errors import UnavailableError
from ..lease_rules import lease_terms
from ..list_rules import claim_size
from ..messages import Claimant, Exchanged, Report, Want
from ..sql.rows import SEQ, Row, decode_labels, to_record
from ..sql.transaction import Tx


class UndecidedError(UnavailableError):
    """The shared operation must decide; nothing was written."""


class KnownLanes:
    """The lanes of queues as this process knows them, with their labels."""

    def __init__(self) -> None:
        self._lanes: dict[str, list[tuple[int, frozenset[str] | None]]] = {}

    async def of(self, tx: Tx, queue: str) -> list[tuple[int, frozenset[str] | None]]:
        """Return the lanes of a queue; labels that cannot be read are None."""
        known = self._lanes.get(queue)
        if known is None:
            rows = await tx.rows("lanes", (queue,))
            known = self._lanes[queue] = [(lane, _labels(requires)) for lane, requires in rows]
        return known

    def forget(self, queues: Collection[str]) -> None:
        """Look again at the lanes of these queues when they are needed."""
        for queue in queues:
            self._lanes.pop(queue, None)


def is_plain(reports: Sequence[Report]) -> bool:
    """Whether all attempts succeeded, with results that can be stored."""
    return all(
        isinstance(report.outcome, Succeeded) and lifecycle.fits(report.outcome)
        for report in reports
    )


async def exchange(
    tx: Tx,
    lanes: KnownLanes,
    reports: Sequence[Report],
    wants: Sequence[Want],
    claimant: Claimant,
    *,
    limit: int,
) -> Exchanged:
    """Settle one batch of successes, then claim the next jobs."""
    settled = await _settle(tx, reports, claimant.worker if wants else "") if reports else ()
    jobs: list[JobRecord] = []
    if len(wants) > 1:
        stocked = set(await tx.stocked_queues([want.queue for want in wants]))
        wants = [want for want in wants if want.queue in stocked]
    for want in wants:
        if len(jobs) < limit:
            jobs += await _claim(
                tx, lanes, want.queue, claimant, min(want.limit, limit - len(jobs))
            )
    if sum(map(claim_size, jobs[:-1])) >= PAGE_BYTES:
        raise UndecidedError("the jobs are too large to be claimed at once")
    return Exchanged(settled, tuple(jobs))


async def _settle(tx: Tx, reports: Sequence[Report], worker: str) -> tuple[str, ...]:
    results = [report.outcome.result for report in reports if isinstance(report.outcome, Succeeded)]
    given = {
        "worker": worker,
        "id_all": [report.id for report in reports],
        "lease_all": [report.lease for report in reports],
        "result_all": results,
        "checksum_all": [None if result is None else crc32(result) for result in results],
        "final_at": tx.now,
    }
    ids = tuple(job_id for (job_id,) in await tx.rows("settle_plain", given))
    tx.hint("final", *ids)
    return ids


async def _claim(
    tx: Tx, lanes: KnownLanes, queue: str, claimant: Claimant, limit: int
) -> list[JobRecord]:
    known = await lanes.of(tx, queue)
    terms = lease_terms(claimant, tx.now)
    served = [
        lane for lane, labels in known if labels is not None and serves(claimant.labels, labels)
    ]
    rows = await tx.rows(
        "claim_plain",
        {
            "worker": claimant.worker,
            "queue": queue,
            "lane_all": served,
            "known": len(known),
            "limit": limit,
            "lease_until": terms.until,
            "started_at": terms.started_at,
        },
    )
    return [lifecycle.claim(_runnable(row, queue, tx.now), terms) for row in rows]


def _runnable(row: Row, queue: str, now: float) -> JobRecord:
    """Return a job that may run as it is."""
    if row[SEQ] is None:
        raise UndecidedError("producers wait for room, or the queue has other lanes")
    job = to_record(row, queue)
    if job.damage or lifecycle.has_expired(job, now) or job.options.given is not None:
        raise UndecidedError(f"job {job.id} cannot be claimed as it is")
    return job


def _labels(requires: str) -> frozenset[str] | None:
    labels = decode_labels(requires)
    return None if labels is None else frozenset(labels)
