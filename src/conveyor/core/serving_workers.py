"""Which workers serve a queue, and why none of them can run jobs that require some labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import msgspec

from .job import COMMANDS, WorkerInfo
from .labels import ONLY, serves

# A worker sends a heartbeat every 5 s; after this long without one it counts as dead.
SILENT = 20.0

# none: no worker serves the queue. quiet: all of them are. commands: the jobs are commands, and no
# worker may run any. only: the jobs require nothing, and all workers run only jobs that require
# some label. labels: no worker has all labels. sick: the machines of those that have them cannot
# start such jobs.
ObstacleKind = Literal["none", "quiet", "commands", "only", "labels", "sick"]


class Obstacle(msgspec.Struct, frozen=True):
    """Why no worker can run some jobs of a queue, and the workers that this is about.

    `missing` are the required labels that no worker of the queue has.
    """

    kind: ObstacleKind
    workers: tuple[WorkerInfo, ...] = ()
    missing: tuple[str, ...] = ()


def is_alive(worker: WorkerInfo, now: float) -> bool:
    """Whether a worker has sent a heartbeat lately."""
    return now - worker.beat_at < SILENT


def serving(queue: str, workers: Sequence[WorkerInfo], now: float) -> list[WorkerInfo]:
    """Return the workers that claim jobs of a queue, or will again."""
    return [
        each
        for each in workers
        if is_alive(each, now) and not each.draining and queue in each.queues
    ]


def able_workers(serving: Sequence[WorkerInfo], requires: Collection[str]) -> list[WorkerInfo]:
    """Return those workers of a queue that may run jobs with these labels."""
    required = frozenset(requires)
    return [each for each in serving if serves(frozenset(each.labels), required)]


def find_obstacle(serving: Sequence[WorkerInfo], requires: Collection[str]) -> Obstacle | None:
    """Return why none of the workers that serve a queue can run its jobs with these labels."""
    required = frozenset(requires)
    if not serving:
        return Obstacle("none")
    if all(each.quiet for each in serving):
        return Obstacle("quiet", tuple(serving))
    able = able_workers(serving, required)
    if not able and COMMANDS in required and not any(map(_may_command, serving)):
        return Obstacle("commands", tuple(serving))
    if not able and not required:
        return Obstacle("only", tuple(serving))
    if not able:
        had = {label.removesuffix(ONLY) for each in serving for label in each.labels}
        return Obstacle("labels", tuple(serving), tuple(sorted(required - had)))
    if all(_is_blocked(each, required) for each in able):
        return Obstacle("sick", tuple(able))
    return None


def count_slots(workers: Sequence[WorkerInfo]) -> tuple[int, int]:
    """Return how many slots of these workers are busy, and how many there are."""
    return sum(each.running for each in workers), sum(each.slots for each in workers)


def describe_sickness(sick: Mapping[str, str]) -> str:
    """Return which kinds of job a worker's machine cannot start, and why, in one line."""
    return "; ".join(f"{kind} jobs: {reason}" for kind, reason in sick.items())


def _is_blocked(worker: WorkerInfo, required: frozenset[str]) -> bool:
    # A sick worker claims nothing, except if only commands are affected: they have a label.
    return bool(worker.sick) and (set(worker.sick) != {"command"} or COMMANDS in required)


def _may_command(worker: WorkerInfo) -> bool:
    return any(label.removesuffix(ONLY) == COMMANDS for label in worker.labels)
