"""Changes jobs, by id, or all that match a filter after a confirmation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from ...core.bulk import BulkAction
from ...core.job import State
from ...core.pending import Pending
from ...errors import InvalidTransitionError
from ...store.protocol import Store
from .audit_trail import audited
from .bulk_change import act_on_matching, confirmed_count, without_later_jobs
from .exit_codes import FAILED, OK
from .job_selection import check_selection, read_selection
from .output import print_job_counts, print_job_states, print_stderr
from .store_access import find_job, open_configured_store

T = TypeVar("T")

REFUSED = "refused"


class JobChange(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """What a command does to jobs.

    `action` is its verb, and `done` the participle. A filter without --state selects `default`;
    `allowed` are the states that can be changed. `change` takes a store, the id of a job and the
    reason; `result` describes the answer.
    """

    action: BulkAction
    done: str
    default: frozenset[State]
    allowed: frozenset[State]
    change: Callable[[Store, str, str], Pending[T]]
    result: Callable[[T], str]


def run_change(
    change: JobChange[T],
    job_ids: tuple[str, ...],
    *,
    limit: int,
    yes: bool,
    reason: str,
    as_json: bool,
    url: str | None,
    **given: Any,
) -> int:
    """Carry out a command with the options of `selection_options`; return its exit code."""
    filtered = check_selection(job_ids, *given.values())
    with open_configured_store(url) as store:
        if not filtered:
            return _change_listed(change, store, job_ids, reason=reason, as_json=as_json)
        matching = read_selection(
            store, given, default=change.default, allowed=change.allowed, done=change.done
        )
        matching = without_later_jobs(store, matching, change.action)
        count = confirmed_count(store, matching, change.action, limit=limit, yes=yes)
        counts: Counter[str] = Counter()
        with audited(store) as record:
            for step in act_on_matching(
                store, matching, change.action, count=count, reason=reason, record=record
            ):
                counts.update(after for _, after in step.jobs)
                if step.refused:
                    counts[REFUSED] += step.refused
    print_job_counts(counts, as_json=as_json)
    return FAILED if counts[REFUSED] else OK


def _change_listed(
    change: JobChange[T], store: Store, job_ids: tuple[str, ...], *, reason: str, as_json: bool
) -> int:
    states: dict[str, str] = {}
    refused = False
    with audited(store) as record:
        for job_id in job_ids:
            found = find_job(store, job_id)
            try:
                answer = change.change(store, found.id, reason).result()
            except InvalidTransitionError as error:
                print_stderr(f"conveyor: {error}")
                refused = True
            else:
                record(change.action, found.id, reason=reason)
                states[found.id] = change.result(answer)
    print_job_states(states, as_json=as_json)
    return FAILED if refused else OK
