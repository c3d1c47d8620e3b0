"""Groups of failures that are alike."""

from __future__ import annotations

from typing import Any

import msgspec

from ....core.failures import (
    WINDOW,
    FailedAttempt,
    Failure,
    Failures,
    failure_of,
    group_failures,
    newest_of,
    with_errors,
)
from ....core.job import ErrorInfo, State
from ....core.unreadable import UNREADABLE
from ...failure_rules import no_failure
from ..rows import finite, whole
from ..transaction import Tx
from .admin import DAMAGED_ENTRY

_decode_error = msgspec.json.Decoder(ErrorInfo).decode


async def failures(
    tx: Tx, *, queue: str | None = None, task: str | None = None, limit: int = 100
) -> Failures:
    """Return the groups among the newest failed attempts."""
    found = group_failures(await _newest(tx), limit=limit, queue=queue, task=task)
    return with_errors(found, [(await _details(tx, each.seq))[2] for each in found.groups])


async def failure(tx: Tx, fingerprint: str, *, queue: str | None = None) -> Failure:
    """Return one group."""
    found = newest_of(await _newest(tx), fingerprint, queue)
    if not found:
        raise no_failure(fingerprint)
    _, _, error = await _details(tx, found[0].seq)
    group = failure_of(found, error)
    newest: list[FailedAttempt] = []
    for each in group.newest:
        attempt, worker, _ = await _details(tx, each.seq)
        newest.append(msgspec.structs.replace(each, attempt=attempt, worker=worker))
    return msgspec.structs.replace(group, newest=newest)


async def _newest(tx: Tx) -> list[FailedAttempt]:
    return [
        FailedAttempt(
            seq=seq,
            fingerprint=str(fingerprint),
            job_id=str(job_id),
            task=str(task),
            queue=await tx.queue_of(lane),
            at=finite(at),
            became=_state(became),
        )
        for seq, fingerprint, job_id, task, lane, at, became in await tx.rows(
            "newest_failures", (WINDOW,)
        )
    ]


def _state(became: Any) -> State:
    try:
        return State(became)
    except ValueError:
        return State.DISCARDED


async def _details(tx: Tx, seq: int) -> tuple[int, str | None, ErrorInfo]:
    rows = await tx.rows("attempt", (seq,))
    if not rows:
        return 0, None, DAMAGED_ENTRY
    attempt, worker, error = rows[0]
    try:
        return whole(attempt), worker, _decode_error(error)
    except (TypeError, *UNREADABLE):
        return whole(attempt), worker, DAMAGED_ENTRY
