"""A problem of a system, and the snapshot of a system in which problems are found."""

from __future__ import annotations

from typing import Literal

import msgspec

from .job import JobRecord, QueueInfo, WorkerInfo
from .record import Record

Level = Literal["ok", "warn", "bad"]
SubjectKind = Literal["queue", "worker", "job", "scaler", "label", "task", "provider"]
ActionKind = Literal[
    "pause_queue",
    "resume_queue",
    "resume_worker",
    "remove_worker",
    "force_cancel",
    "see_queue",
    "see_jobs",
    "see_worker",
    "see_workers",
    "see_job",
    "see_scaler",
    "run",
]

# How many problems of one kind are listed, and how many names a sentence has.
MOST_ALIKE, MOST_NAMED = 20, 3
# A scaler that has not run for this many seconds was removed.
SCALER_GONE = 86_400.0
# What is called short below this, in seconds.
LEAST_WAIT = 30.0


class Subject(Record, frozen=True):
    """What a sentence is about."""

    kind: SubjectKind
    name: str


class Cause(Record, frozen=True):
    """One cause: a clause about its subject; without one, a clause that stands by itself."""

    text: str
    subject: Subject | None = None


class Remedy(Record, frozen=True):
    """One thing to do about a problem: what a button does, and the same as a command."""

    kind: ActionKind
    label: str
    target: str = ""
    command: str = ""


class SystemProblem(Record, frozen=True, kw_only=True):
    """One thing that is wrong. `key` names it as long as it lasts.

    `claim` is a sentence without its subject; `tag` says the same in two or three words.
    """

    key: str
    level: Level
    subject: Subject
    claim: str
    tag: str = ""
    because: tuple[Cause, ...] = ()
    actions: tuple[Remedy, ...] = ()

    def explanation(self) -> str:
        """Return what follows the subject: the claim, and because of what."""
        causes = (
            each.text if each.subject is None else f"{each.subject.name} {each.text}"
            for each in self.because
        )
        return f"{self.claim} Because {'; '.join(causes)}." if self.because else self.claim


class LaneFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs of a queue that require the same labels and could run now."""

    requires: tuple[str, ...] = ()
    waiting: int = 0
    oldest_at: float | None = None


class QueueFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a queue. Rates are jobs a second, over the last minutes.

    `usual_wait` is how long 95 % of its jobs waited at most at this time of the last days; None if
    that is not known. `failed_share` is the part of the last attempts that failed.
    """

    info: QueueInfo
    lanes: tuple[LaneFacts, ...] = ()
    usual_wait: float | None = None
    enqueued_rate: float = 0.0
    started_rate: float = 0.0
    completed_rate: float = 0.0
    ended_rate: float = 0.0
    failed_share: float | None = None

    @property
    def oldest_at(self) -> float | None:
        """Since when the oldest job waits that could run; None if none waits."""
        times = [each.oldest_at for each in self.lanes if each.oldest_at is not None]
        return min(times, default=None)


class ScalerFacts(Record, frozen=True, kw_only=True):
    """What a scaler has left of its last cycle, at `at`; the next one was due `every` later."""

    at: float
    every: float
    held: tuple[str, ...] = ()
    blind: dict[str, str] = msgspec.field(default_factory=dict[str, str])


class SystemFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A system at one moment. `stopping` are running jobs with a cancel request."""

    now: float
    queues: tuple[QueueFacts, ...] = ()
    workers: tuple[WorkerInfo, ...] = ()
    stopping: tuple[JobRecord, ...] = ()
    scaler: ScalerFacts | None = None
