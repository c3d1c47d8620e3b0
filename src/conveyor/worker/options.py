"""The options of a worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf

import msgspec

from ..core.command_policy import UNRESTRICTED, CommandRules
from ..core.job import State, WorkerInfo
from ..maintenance.loop import SWEEP_EVERY
from ..maintenance.pruner import RETENTION

# How long running jobs may finish, in seconds, when a worker drains.
DRAIN = 25.0


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker works. Durations are seconds.

    What it runs: `slots` jobs at once, from `queues` (names with weights), which `strict` serves in
    order instead of by weight; `labels` are what jobs can require. `commands` are the rules for
    commands; while they are allowed, "commands" is one of the labels. After `most` jobs it drains.

    Claims: `lease_for` is how long one lasts without renewal, `poll` how often an idle worker looks
    for jobs that no hint announced, `beat` the time between heartbeats. `keep`: a sidecar process
    renews the leases too, where other processes can open the store. `drain` is how long running
    jobs may finish when an `async with` block ends, or when the store orders a drain.

    Processes: a child is replaced after `max_jobs_per_process` jobs, or above `max_rss_mb` MiB.
    Maintenance: `retention` is how long jobs of each final state are kept. `app` names the
    application in messages. `on_round` is called in the worker's loop about once a second while it
    works without errors; it must not raise.
    """

    queues: tuple[tuple[str, int], ...] = (("default", 1),)
    slots: int = 8
    strict: bool = False
    most: float = inf
    labels: frozenset[str] = frozenset()
    commands: CommandRules = UNRESTRICTED
    lease_for: float = 60.0
    poll: float = 5.0
    beat: float = SWEEP_EVERY
    drain: float = DRAIN
    app: str = "this program"
    keep: bool = True
    max_jobs_per_process: int = 1000
    max_rss_mb: int = 512
    retention: Mapping[State, float] = msgspec.field(default_factory=lambda: dict(RETENTION))
    on_round: Callable[[WorkerInfo], None] | None = None
