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
from ....core.job import AttemptError, State
from ...failure_rules import no_failure
from ..rows import finite
from ..transaction import Tx
from .admin import attempt_error


async def failures(
    tx: Tx, *, queue: str | None = None, task: str | None = None, limit: int = 100
) -> Failures:
    """Return the groups among the newest failed attempts."""
    found = group_failures(await _newest(tx), limit=limit, queue=queue, task=task)
    return with_errors(found, [(await _entry(tx, each.seq)).error for each in found.groups])


async def failure(tx: Tx, fingerprint: str, *, queue: str | None = None) -> Failure:
    """Return one group."""
    found = newest_of(await _newest(tx), fingerprint, queue)
    if not found:
        raise no_failure(fingerprint)
    group = failure_of(found, (await _entry(tx, found[0].seq)).error)
    newest: list[FailedAttempt] = []
    for each in group.newest:
        entry = await _entry(tx, each.seq)
        newest.append(msgspec.structs.replace(each, attempt=entry.attempt, worker=entry.worker))
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


async def _entry(tx: Tx, seq: int) -> AttemptError:
    [row] = await tx.rows("attempt", (seq,))
    return attempt_error(*row)
