"""Lists of jobs and of their attempts, and how many there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from ...core.attempts import Attempt, attempt_of, with_last
from ...core.bulk import COUNTED, BulkAction, changeable_states
from ...core.job import DETAILS, HISTORY, AttemptError, Detail, JobRecord, State, leave_out
from ...core.page import Page, cut_page
from ..bulk_rules import check_filter, matched
from ..list_rules import attempt_size, job_size
from ..messages import SEARCHED_ARGS, Filter, JobCounts, Matched
from .data import MemoryData


def find(
    memory: MemoryData, which: Filter, *, limit: int, include: Collection[Detail] = ()
) -> Page[JobRecord]:
    """Return one page of jobs, newest first."""
    omitted = DETAILS.difference(include)
    found = (leave_out(job, omitted) for job in matching_jobs(memory, which))
    return cut_page(found, limit, job_size)


def attempts(
    memory: MemoryData, job_id: str, *, after: int = 0, limit: int = HISTORY
) -> Page[Attempt]:
    """Return one page of a job's attempts, oldest first."""
    job = memory.index.job(job_id)
    kept = memory.index.history.get(job_id, ())
    page = cut_page((each for each in kept if each.seq > after), limit, attempt_size)
    if page.more:
        return Page(map(attempt_of, page), more=True)
    return Page(with_last(page, job))


def job_counts(memory: MemoryData, which: Filter) -> JobCounts:
    """Count the jobs of a filter."""
    found = Counter((job.state, job.queue) for job in matching_jobs(memory, which))
    states = Counter[State]()
    queues = Counter[str]()
    for (state, queue), count in found.items():
        states[state] += count
        queues[queue] += min(count, COUNTED)
    wanted = which.states or frozenset(State)
    return JobCounts(
        counts={state: min(states[state], COUNTED) for state in State if state in wanted},
        queues=dict(queues),
        is_capped=any(count > COUNTED for count in states.values()),
    )


def match(memory: MemoryData, which: Filter, action: BulkAction) -> Matched:
    """Count the jobs that an action on a filter would change."""
    changeable_states(action, which.states)
    newest = next(reversed(memory.index.jobs.values()), None)
    return matched(
        job_counts(memory, which), which, action, upto=0 if newest is None else newest.seq
    )


def matching_jobs(memory: MemoryData, which: Filter) -> Iterator[JobRecord]:
    """Return the jobs of a filter in its order."""
    check_filter(which)
    jobs = memory.index.jobs.values()  # a dict keeps the order of acceptance
    ordered = iter(jobs) if which.oldest_first else reversed(jobs)
    return (job for job in ordered if _matches(memory, job, which))


def _matches(memory: MemoryData, job: JobRecord, which: Filter) -> bool:
    return (
        which.queue in (None, job.queue)
        and which.task in (None, job.task)
        and (not which.states or job.state in which.states)
        and (which.before is None or job.seq < which.before)
        and (which.after is None or job.seq > which.after)
        and (which.enqueued_before is None or job.enqueued_at < which.enqueued_before)
        and (which.enqueued_after is None or job.enqueued_at >= which.enqueued_after)
        and which.worker in (None, job.worker)
        and (which.error is None or _last_failure(memory, job) == which.error)
        and (which.text is None or _has_text(job, which.text))
    )


def _last_failure(memory: MemoryData, job: JobRecord) -> str:
    kept: list[AttemptError] = memory.index.history.get(job.id, [])
    return next((each.fingerprint for each in reversed(kept) if each.fingerprint), "")


def _has_text(job: JobRecord, text: str) -> bool:
    return len(job.args) <= SEARCHED_ARGS and text.encode() in job.args
