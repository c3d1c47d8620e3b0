"""Dumps of what running jobs do: requested by operators, made by workers."""

from __future__ import annotations

from typing import Any

import msgspec

from ....core.stack import KEPT, MAX_REQUESTS, StackAnswer, StackDump, bounded_dump
from ....core.unreadable import UNREADABLE
from ...messages import Lease
from ...stack_rules import REQUESTS_AT_ONCE, check_running
from ..rows import finite
from ..transaction import Tx
from .admin import get

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(StackDump).decode
DAMAGED = StackDump(kind="thread", note="the dump is damaged; request another one")


async def request_stack(tx: Tx, job_id: str) -> None:
    """Request a dump of a running job."""
    job = await get(tx, job_id)
    check_running(job)
    await tx.rows("request_stack", (job_id, job.lease, job.worker or "", tx.now))
    await tx.rows("delete_surplus_stacks", (MAX_REQUESTS,))
    tx.hint("stack", job.worker or "")


async def stack_requests(tx: Tx, worker: str) -> list[Lease]:
    """Return the jobs of a worker of which a dump is requested."""
    return [Lease(*row) for row in await tx.rows("stack_requests", (worker, REQUESTS_AT_ONCE))]


async def put_stack(tx: Tx, lease: Lease, dump: StackDump) -> bool:
    """Store a requested dump."""
    encoded = _encode(bounded_dump(dump))
    return bool(await tx.rows("put_stack", (tx.now, encoded, lease.id, lease.lease)))


async def stack(tx: Tx, job_id: str) -> StackAnswer | None:
    """Return the last request for a dump of a job, and the dump."""
    await get(tx, job_id)
    for asked_at, taken_at, dump in await tx.rows("stack", (job_id, tx.now - KEPT)):
        if taken_at is None:
            return StackAnswer(finite(asked_at))
        return StackAnswer(finite(asked_at), finite(taken_at), read_dump(dump))
    return None


def read_dump(dump: Any) -> StackDump:
    """Return the dump in a row; one that cannot be read says so."""
    try:
        found: StackDump = _decode(dump)
    except (TypeError, *UNREADABLE):
        return DAMAGED
    return found


async def prune_stacks(tx: Tx, *, limit: int) -> None:
    """Forget old requests."""
    await tx.rows("delete_old_stacks", (tx.now - KEPT, limit))
