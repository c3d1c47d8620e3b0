"""From what was seen of a store to its overview: pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ..core.history import (
    CANCELLED,
    COMPLETED,
    DISCARDED,
    ENQUEUED,
    MINUTE,
    STARTED,
    WAITS,
    Counts,
    add_counts,
    histogram,
    make_point,
    minute_of,
    percentile,
)
from ..core.job import JobRecord, QueueInfo, State
from ..core.marks import Mark
from ..core.overview import (
    HealthCounts,
    Overview,
    OverviewHistory,
    OverviewPoint,
    QueueView,
    RunningJob,
)
from ..core.problem import LaneFacts, Level, QueueFacts, SystemFacts, SystemProblem
from ..core.problems import give_verdict
from ..core.serving_workers import is_alive
from .recent_history import QUEUE_MINUTES, RecentHistory, failed_share, rate_of

# Over how many minutes rates, and failures and waiting times, are taken.
RATE_MINUTES, SHARE_MINUTES = 2, 10
# From how many minutes on a point of the history has several, and how many.
LONG, LONG_STEP = 360, 5


class Sight(msgspec.Struct, frozen=True):
    """What was seen of a store at one moment."""

    snapshot: SystemFacts
    problems: tuple[SystemProblem, ...]
    longest: tuple[JobRecord, ...]
    marks: tuple[Mark, ...]

    @property
    def now(self) -> float:
        """When it was seen, by the store's clock."""
        return self.snapshot.now


def queue_facts(
    info: QueueInfo,
    lanes: Sequence[LaneFacts],
    usual: float | None,
    recent: RecentHistory,
    now: float,
) -> QueueFacts:
    """Return what is known of a queue."""
    counts = recent.window(info.name, RATE_MINUTES)
    ended = sum(
        rate_of(counts, slot, now, RATE_MINUTES) for slot in (COMPLETED, DISCARDED, CANCELLED)
    )
    return QueueFacts(
        info=info,
        lanes=tuple(lanes),
        usual_wait=usual,
        enqueued_rate=rate_of(counts, ENQUEUED, now, RATE_MINUTES),
        started_rate=rate_of(counts, STARTED, now, RATE_MINUTES),
        completed_rate=rate_of(counts, COMPLETED, now, RATE_MINUTES),
        ended_rate=ended,
        failed_share=failed_share(recent.window(info.name, SHARE_MINUTES)),
    )


def render(sight: Sight, recent: RecentHistory, *, minutes: int, queues: int) -> Overview:
    """Return the overview of what was seen."""
    snapshot, now = sight.snapshot, sight.now
    infos = [each.info for each in snapshot.queues]
    alive = [each for each in snapshot.workers if is_alive(each, now)]
    hosts = len({each.host for each in alive})
    counts = {state: sum(each.counts.get(state, 0) for each in infos) for state in State}
    times = [each.oldest_at for each in snapshot.queues if each.oldest_at is not None]
    total = recent.total_window(RATE_MINUTES)
    since = now - minutes * MINUTE
    return Overview(
        at=now,
        minutes=minutes,
        verdict=give_verdict(sight.problems, queues=len(infos), workers=len(alive), hosts=hosts),
        health=HealthCounts(
            bad=sum(each.level == "bad" for each in sight.problems),
            warn=sum(each.level == "warn" for each in sight.problems),
        ),
        problems=sight.problems,
        waiting=counts[State.AVAILABLE],
        later=counts[State.SCHEDULED] + counts[State.RETRYABLE],
        running=counts[State.RUNNING],
        slots=sum(each.slots for each in alive),
        workers=len(alive),
        hosts=hosts,
        jobs=sum(counts.values()),
        oldest_at=min(times, default=None),
        enqueued_rate=rate_of(total, ENQUEUED, now, RATE_MINUTES),
        started_rate=rate_of(total, STARTED, now, RATE_MINUTES),
        completed_rate=rate_of(total, COMPLETED, now, RATE_MINUTES),
        failed_share=failed_share(recent.total_window(SHARE_MINUTES)),
        failed_usual=failed_share(recent.total_window(minutes)),
        queues_total=len(infos),
        queues=_queue_views(sight, recent, minutes, queues),
        longest=tuple(map(_running_job, sight.longest)),
        marks=tuple(each for each in reversed(sight.marks) if each.at >= since),
        history=_history(recent, now, minutes),
        scaler=snapshot.scaler,
    )


def _queue_views(
    sight: Sight, recent: RecentHistory, minutes: int, limit: int
) -> tuple[QueueView, ...]:
    worst: dict[str, SystemProblem] = {}
    for problem in sight.problems:  # the worst come first
        if problem.subject.kind == "queue":
            worst.setdefault(problem.subject.name, problem)
    levels: dict[str, Level] = {name: problem.level for name, problem in worst.items()}
    ranks: Mapping[Level, int] = {"bad": 0, "warn": 1, "ok": 2}

    def place(facts: QueueFacts) -> tuple[int, int, str]:
        name = facts.info.name
        return ranks[levels.get(name, "ok")], -facts.info.depth, name

    return tuple(
        _queue_view(each, worst.get(each.info.name), recent, minutes)
        for each in sorted(sight.snapshot.queues, key=place)[:limit]
    )


def _queue_view(
    facts: QueueFacts, problem: SystemProblem | None, recent: RecentHistory, minutes: int
) -> QueueView:
    info = facts.info
    waits = histogram(recent.window(info.name, SHARE_MINUTES), WAITS)
    return QueueView(
        name=info.name,
        level="ok" if problem is None else problem.level,
        says="" if problem is None else problem.tag,
        capacity=info.capacity,
        paused=info.paused,
        counts=info.counts,
        depth=info.depth,
        offers=info.offers,
        oldest_at=facts.oldest_at,
        usual_wait=facts.usual_wait,
        waiting_p95=percentile(waits, 0.95),
        enqueued_rate=facts.enqueued_rate,
        completed_rate=facts.completed_rate,
        failed_share=facts.failed_share,
        spark=recent.spark(info.name, min(minutes, QUEUE_MINUTES)),
    )


def _running_job(job: JobRecord) -> RunningJob:
    return RunningJob(
        id=job.id,
        task=job.task,
        queue=job.queue,
        worker=job.worker,
        attempt=job.attempt,
        started_at=job.started_at,
        cancel_requested_at=job.cancel_requested_at,
        progress=job.progress,
    )


def _history(recent: RecentHistory, now: float, minutes: int) -> OverviewHistory:
    size = LONG_STEP if minutes > LONG else 1
    last = minute_of(now) // size
    first = (minute_of(now) - minutes + 1) // size
    return OverviewHistory(
        since=float(first * size * MINUTE),
        until=float((last + 1) * size * MINUTE),
        step=float(size * MINUTE),
        points=tuple(_point(recent, number, size) for number in range(first, last + 1)),
    )


def _point(recent: RecentHistory, number: int, size: int) -> OverviewPoint:
    counts: Counts = {}
    worst: float | None = None
    for each in recent.totals(number * size, (number + 1) * size - 1):
        add_counts(counts, each.counts)
        if each.worst_p95 is not None:
            worst = max(worst or 0.0, each.worst_p95)
    point = make_point(float(number * size * MINUTE), counts)
    return OverviewPoint(**msgspec.structs.asdict(point), worst_p95=worst)
