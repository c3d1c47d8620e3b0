"""Failures that are alike, counted over the newest failed attempts: a rule of every store."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from .job import ErrorInfo, State
from .record import Record

# How many attempts are looked at: the newest that failed.
WINDOW = 10_000
# How many attempts of one group are listed.
LISTED = 20


class FailedAttempt(Record, frozen=True, kw_only=True):
    """An attempt that failed, without its error. `at` is when it ended, in Unix seconds."""

    seq: int
    fingerprint: str
    job_id: str
    task: str
    queue: str
    at: float
    became: State
    attempt: int = 0
    worker: str | None = None


class FailureGroup(Record, frozen=True, kw_only=True):
    """Failures with one fingerprint, among the newest attempts that failed.

    `type` and `message` are those of the newest one, and `job_id` is its job. `count` counts the
    attempts, also by task, by queue and by what the job became; `jobs` counts the jobs.
    """

    fingerprint: str
    count: int
    jobs: int
    first_at: float
    last_at: float
    tasks: dict[str, int]
    queues: dict[str, int]
    became: dict[State, int]
    job_id: str
    seq: int
    type: str = ""
    message: str = ""


class Failures(Record, frozen=True, kw_only=True):
    """The groups, those with the most attempts first, and what was looked at.

    `attempts` of the newest failed attempts were looked at, at most `limit`; if they are all there
    are, `is_complete`. `since` is when the oldest of them ended. `more`: there are more groups than
    were asked for.
    """

    groups: list[FailureGroup] = msgspec.field(default_factory=list[FailureGroup])
    attempts: int = 0
    limit: int = WINDOW
    is_complete: bool = True
    since: float | None = None
    more: bool = False


class Failure(Record, frozen=True, kw_only=True):
    """One group with the error of its newest attempt, and its newest attempts."""

    group: FailureGroup
    error: ErrorInfo
    newest: list[FailedAttempt] = msgspec.field(default_factory=list[FailedAttempt])


def group_failures(
    found: Sequence[FailedAttempt],
    *,
    limit: int,
    queue: str | None = None,
    task: str | None = None,
) -> Failures:
    """Return the groups of the newest attempts, which are given newest first.

    With `queue` or `task`, only attempts of these are counted.
    """
    by_fingerprint: defaultdict[str, list[FailedAttempt]] = defaultdict(list)
    for each in found:
        if queue in (None, each.queue) and task in (None, each.task):
            by_fingerprint[each.fingerprint].append(each)
    groups = [_group(each) for each in by_fingerprint.values()]
    groups.sort(key=lambda group: (-group.count, -group.seq))
    return Failures(
        groups=groups[:limit],
        attempts=len(found),
        is_complete=len(found) < WINDOW,
        since=found[-1].at if found else None,
        more=len(groups) > limit,
    )


def with_errors(failures: Failures, errors: Sequence[ErrorInfo]) -> Failures:
    """Return the groups with the class and message of their newest errors, given in their order."""
    groups = [
        msgspec.structs.replace(group, type=error.type, message=error.message)
        for group, error in zip(failures.groups, errors, strict=True)
    ]
    return msgspec.structs.replace(failures, groups=groups)


def newest_of(
    found: Iterable[FailedAttempt], fingerprint: str, queue: str | None
) -> list[FailedAttempt]:
    """Return the attempts with a fingerprint, in their order; with `queue`, those of it."""
    return [
        each for each in found if each.fingerprint == fingerprint and queue in (None, each.queue)
    ]


def failure_of(found: Sequence[FailedAttempt], error: ErrorInfo) -> Failure:
    """Return the group of at least one attempt with one fingerprint, newest first."""
    group = msgspec.structs.replace(_group(found), type=error.type, message=error.message)
    return Failure(group=group, error=error, newest=list(found[:LISTED]))


def _group(found: Sequence[FailedAttempt]) -> FailureGroup:
    newest = found[0]
    return FailureGroup(
        fingerprint=newest.fingerprint,
        count=len(found),
        jobs=len({each.job_id for each in found}),
        first_at=min(each.at for each in found),
        last_at=max(each.at for each in found),
        tasks=dict(Counter(each.task for each in found).most_common(10)),
        queues=dict(Counter(each.queue for each in found).most_common(10)),
        became=dict(Counter(each.became for each in found)),
        job_id=newest.job_id,
        seq=newest.seq,
    )
