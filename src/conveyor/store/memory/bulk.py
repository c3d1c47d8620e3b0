"""Actions on all jobs of a filter, step by step."""

from __future__ import annotations

from itertools import islice

from ...core.bulk import PER_STEP, BulkAction
from ...errors import ConveyorError
from ..bulk_rules import narrowed
from ..messages import Acted, Filter
from .admin import cancel, delete, retry
from .data import MemoryData
from .job_lists import matching_jobs

# How many problems are described.
DESCRIBED = 10


def act(
    memory: MemoryData,
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
    found = list(islice(matching_jobs(memory, step), limit + 1))
    changed: list[tuple[str, str]] = []
    problems: list[str] = []
    for job in found[:limit]:
        try:
            match action:
                case "cancel":
                    after: str = cancel(memory, job.id, reason=reason, force=force).state
                case "retry":
                    after = retry(memory, job.id).state
                case "delete":
                    delete(memory, job.id)
                    after = "deleted"
        except ConveyorError as error:
            problems.append(str(error))
        else:
            changed.append((job.id, after))
    return Acted(
        changed=len(changed),
        refused=len(problems),
        jobs=tuple(changed),
        problems=tuple(problems[:DESCRIBED]),
        next=found[limit - 1].seq if len(found) > limit else None,
    )
