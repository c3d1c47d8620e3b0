"""Changes all jobs of a filter that were counted for the question, step by step."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ...core.bulk import MOST_PER_STEP, BulkAction
from ...store.messages import Acted, Filter
from ...store.protocol import Store
from .audit_trail import RecordAction
from .job_selection import confirm, select_pages
from .output import print_stderr


def without_later_jobs(store: Store, which: Filter, action: BulkAction) -> Filter:
    """Return the filter that leaves out what is enqueued from now on."""
    upto = store.match(which, action).result().upto
    return msgspec.structs.replace(which, before=upto + 1)


def confirmed_count(
    store: Store, which: Filter, action: BulkAction, *, limit: int, yes: bool
) -> int:
    """Count the jobs of a filter, at most `limit`, and ask whether to change that many."""
    count = sum(map(len, select_pages(store, which, limit=limit)))
    confirm(action, count, limit=limit, yes=yes)
    return count


def act_on_matching(
    store: Store,
    which: Filter,
    action: BulkAction,
    *,
    count: int,
    reason: str,
    record: RecordAction,
    force: bool = False,
) -> Iterator[Acted]:
    """Change at most `count` jobs of a filter, and record each step; print why some could not be.

    The filter is looked at again: a job that matches no more is left alone.
    """
    assert which.before is not None, "set by the caller"
    upto = which.before - 1
    described = msgspec.structs.replace(which, before=None).described()
    while count > 0:
        limit = min(MOST_PER_STEP, count)
        step = store.act(
            which, upto=upto, action=action, reason=reason, force=force, limit=limit
        ).result()
        if step.changed:
            record(action, described, "forced" if force else "", reason, step.changed)
        for problem in step.problems:
            print_stderr(f"conveyor: {problem}")
        yield step
        if step.next is None:
            return
        count -= step.changed + step.refused
        which = msgspec.structs.replace(which, before=step.next)
