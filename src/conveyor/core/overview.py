"""A system at a glance: what is wrong, its queues, workers and history, in one answer."""

from __future__ import annotations

from .history import HistoryPoint
from .job import Progress, State
from .marks import Mark
from .problem import Level, ScalerFacts, SystemProblem
from .problems import Verdict
from .record import Record


class HealthCounts(Record, frozen=True):
    """How many problems there are."""

    bad: int = 0
    warn: int = 0


class QueueView(Record, frozen=True, kw_only=True):
    """A queue at a glance. Rates are jobs a second over the last two to three minutes.

    `says` are two or three words about its worst problem, "" if it is well. `usual_wait` is how
    long 95 % of its jobs waited at most at this hour of the last seven days, `waiting_p95` in the
    last ten minutes, in seconds. `failed_share` is the part of the attempts of the last ten minutes
    that failed. None: not known. `spark` is how many jobs completed in each of the last complete
    minutes, oldest first.
    """

    name: str
    level: Level = "ok"
    says: str = ""
    capacity: int | None = None
    paused: bool = False
    counts: dict[State, int]
    depth: int
    offers: int = 0
    oldest_at: float | None = None
    usual_wait: float | None = None
    waiting_p95: float | None = None
    enqueued_rate: float = 0.0
    completed_rate: float = 0.0
    failed_share: float | None = None
    spark: tuple[int, ...] = ()


class RunningJob(Record, frozen=True, kw_only=True):
    """A job that runs, and since when."""

    id: str
    task: str
    queue: str
    worker: str | None
    attempt: int
    started_at: float | None
    cancel_requested_at: float | None = None
    progress: Progress | None = None


class OverviewPoint(HistoryPoint, frozen=True, kw_only=True):
    """A point of the history of all queues. `worst_p95` is the highest of a single queue."""

    worst_p95: float | None = None


class OverviewHistory(Record, frozen=True, kw_only=True):
    """What happened in all queues, from `since` up to `until`, without gaps."""

    since: float
    until: float
    step: float
    points: tuple[OverviewPoint, ...]


class Overview(Record, frozen=True, kw_only=True):
    """A system at a glance, at the time `at` of its store.

    `waiting` jobs could run now, the first one since `oldest_at`; `later` ones wait for their time.
    `failed_share` is the part of the attempts of the last ten minutes that failed, and
    `failed_usual` of the whole time shown. `queues` has the first of `queues_total`: those in
    trouble, then those with most waiting jobs. `longest` are the jobs that have run the longest.
    """

    at: float
    minutes: int
    verdict: Verdict
    health: HealthCounts
    problems: tuple[SystemProblem, ...]
    waiting: int
    later: int
    running: int
    slots: int
    workers: int
    hosts: int
    jobs: int
    oldest_at: float | None
    enqueued_rate: float
    started_rate: float
    completed_rate: float
    failed_share: float | None
    failed_usual: float | None
    queues_total: int
    queues: tuple[QueueView, ...]
    longest: tuple[RunningJob, ...]
    marks: tuple[Mark, ...]
    history: OverviewHistory
    scaler: ScalerFacts | None = None
