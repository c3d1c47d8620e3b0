"""Actions on all jobs of a filter, step by step."""

from __future__ import annotations

from ....core.bulk import PER_STEP, BulkAction
from ....errors import ConveyorError, InvalidTransitionError, NotFoundError, UsageError
from ...bulk_rules import narrowed
from ...messages import Acted, Filter
from ..rows import NO_QUEUE
from ..transaction import Tx
from .admin import cancel_job, delete, retry_job
from .enqueue import make_room
from .job_lists import find_numbers, listed

# How many problems are described.
DESCRIBED = 10
# Why a single job may refuse a change. All else ends the step, and nothing of it is done.
_REFUSALS = (InvalidTransitionError, NotFoundError, UsageError)


async def act(
    tx: Tx,
    which: Filter,
    *,
    upto: int,
    action: BulkAction,
    reason: str,
    force: bool = False,
    limit: int = PER_STEP,
) -> Acted:
    """Change at most `limit` jobs of a filter, newest first."""
    step = narrowed(which, action, upto=upto, limit=limit)
    page = await find_numbers(tx, step, limit)
    ids = [str(job_id) for (job_id,) in await tx.rows("ids_of", (listed(page),))] if page else []
    await tx.lock_jobs(ids)
    changed: list[tuple[str, str]] = []
    refused: list[ConveyorError] = []
    queues: set[str] = set()
    for job_id in ids:
        try:
            match action:
                case "cancel":
                    job = await cancel_job(tx, job_id, reason=reason, force=force)
                    queues.add(job.queue)
                    after: str = job.state
                case "retry":
                    after = (await retry_job(tx, job_id, repairs=False)).state
                case "delete":
                    await delete(tx, job_id)
                    after = "deleted"
        except _REFUSALS as error:
            refused.append(error)
        else:
            changed.append((job_id, after))
    for queue in sorted(queues - {NO_QUEUE}):
        await make_room(tx, queue, passes_over=True)
    end = page.next if page.next is not None or not page.more else page[-1]
    return Acted(
        changed=len(changed),
        refused=len(refused),
        jobs=tuple(changed),
        problems=tuple(map(str, refused[:DESCRIBED])),
        next=end,
    )
