"""The jobs that hold unique keys, and what calls with the same keys change of them."""

from __future__ import annotations

from collections.abc import Sequence

from ....core.conflicts import needs_key, supersede
from ....core.files import inputs
from ....core.job import JobRecord, NewJob
from ....core.lifecycle import Transition
from ...hint_rules import state_hint
from ...unique_keys import Admission, Holder, Rewritten, unique_key, unique_keys
from ..rows import LANE, checksum, encode_options, to_record
from ..transaction import ConflictError, Tx
from .callbacks import replace_callbacks

# How often the holder of a key is looked up that has ended before it could be read.
TRIES = 5


async def read_holders(tx: Tx, jobs: Sequence[NewJob]) -> dict[str, Holder]:
    """Return the jobs that hold the unique keys of these jobs, by key."""
    holders: dict[str, Holder] = {}
    for key, is_read in unique_keys(jobs).items():
        holder = await _holder(tx, key, is_read=is_read)
        if holder is not None:
            holders[key] = holder
    return holders


async def _holder(tx: Tx, key: str, *, is_read: bool) -> Holder | None:
    for _ in range(TRIES):
        rows = await tx.rows("key_holder", (key,))
        if not rows or not is_read:
            return Holder(rows[0][0]) if rows else None
        for row in await tx.rows("get", rows[0]):
            job = to_record(row, await tx.queue_of(row[LANE]))
            if not job.is_final or job.damage or job.options.key_until == "pruned":
                return Holder(job.id, job)
        # It has ended since the first statement, so that the key is free, or held by another one.
    raise ConflictError("jobs with this unique key end as fast as they are read; try again")


async def change_holders(tx: Tx, admission: Admission) -> None:
    """Change waiting holders, and take the keys of running ones, as an enqueue decided.

    Each must still be as it was read: otherwise the operation conflicts, and is repeated.
    """
    for each in admission.rewritten:
        await _rewrite(tx, each)
    if admission.followed:
        await tx.change("pass_key", [(job.seq, job.lease) for job in admission.followed])


async def _rewrite(tx: Tx, change: Rewritten) -> None:
    before, after = change.before, change.after
    options = encode_options(after.options)
    row = {
        "lane": await tx.lane(after.queue, after.options.requires),
        "args": after.args,
        "options": options,
        "checksum": checksum(after.id, after.task, after.args, options),
        "state": after.state,
        "priority": after.priority,
        "run_at": after.run_at,
        "expires_at": after.options.expires_at,
        "key_kept": after.options.key_until == "pruned",
        "seq": before.seq,
        "state_before": before.state,
        "lease": before.lease,
    }
    await tx.change("rewrite", [row])
    if before.state is not after.state:
        await tx.tally(before.queue, before.state, -1)
        await tx.tally(after.queue, after.state, 1)
    if before.options.files != after.options.files:
        await tx.rows("delete_inputs", (before.seq,))
        await add_inputs(tx, [after])
    if change.callbacks is not None:
        await replace_callbacks(tx, after, change.callbacks)
    tx.hint(*state_hint(after))


async def add_inputs(tx: Tx, jobs: Sequence[NewJob | JobRecord]) -> None:
    """Store which files jobs need."""
    rows = [
        (each.kind, each.name, each.digest, each.size, each.executable, job.id)
        for job in jobs
        for each in inputs(job.options.files)
    ]
    if rows:
        await tx.many("add_input", rows)


async def unless_superseded(tx: Tx, job: JobRecord, move: Transition) -> Transition:
    """Return what becomes of a running job, which does not wait again once it has lost its key."""
    if not needs_key(job, move):
        return move
    holders = await tx.rows("key_holder", (unique_key(job),))
    return move if [(job.id,)] == holders else supersede(job, move)
