"""Which jobs a unique key keeps out: one rule for every store."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ..core.job import JobRecord, NewJob
from ..errors import InvalidTransitionError
from .messages import Accepted


def unique_key(job: NewJob | JobRecord) -> str:
    """Return what no second job may share: the key, among the jobs of the task in its queue."""
    return f"{job.queue}\0{job.task}\0{job.options.key}"


def admit_keys(jobs: Sequence[NewJob], holders: Mapping[str, str]) -> tuple[list[NewJob], Accepted]:
    """Return the jobs whose key is free, and the answer for all; `holders` are ids by key."""
    taken = dict(holders)
    fresh: list[NewJob] = []
    ids: list[str] = []
    existing: list[str] = []
    for new in jobs:
        if new.options.key is not None:
            key = unique_key(new)
            if key in taken:
                ids.append(taken[key])
                existing.append(taken[key])
                continue
            taken[key] = new.id
        fresh.append(new)
        ids.append(new.id)
    return fresh, Accepted(tuple(ids), tuple(existing))


def unique_keys(jobs: Sequence[NewJob]) -> list[str]:
    """Return the unique keys of the jobs that have one."""
    return [unique_key(new) for new in jobs if new.options.key is not None]


def count_fresh(jobs: Sequence[NewJob], holders: Mapping[str, str]) -> int:
    """Return how many of the jobs have a free key, or none."""
    return len(admit_keys(jobs, holders)[0])


def answer_again(
    jobs: Sequence[NewJob], stored: Collection[str], holders: Mapping[str, str]
) -> Accepted:
    """Return the answer to a request of which the jobs in `stored` were accepted before."""
    ids: list[str] = []
    existing: list[str] = []
    for new in jobs:
        is_stored = new.id in stored or new.options.key is None
        holder = None if is_stored else holders.get(unique_key(new))
        ids.append(holder or new.id)
        existing += [holder] if holder else []
    return Accepted(tuple(ids), tuple(existing))


def key_taken(job: JobRecord, holder: str) -> InvalidTransitionError:
    """Return the error for a retry of a job whose key another job holds by now."""
    return InvalidTransitionError(
        f"job {job.id} cannot be retried: its key {job.options.key!r} now belongs to job {holder}"
    )
