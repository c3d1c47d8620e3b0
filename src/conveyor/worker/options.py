"""The options of a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any, cast

import msgspec

from ..core.command_policy import UNRESTRICTED, CommandRules
from ..core.duration import parse_duration
from ..core.job import FINAL, State, WorkerInfo
from ..core.marks import checked_mark_text
from ..core.names import WEIGHTS, validate_name
from ..errors import UsageError
from ..maintenance.loop import SWEEP_EVERY
from ..maintenance.pruner import RETENTION

# How long running jobs may finish, in seconds, when a worker drains.
DRAIN = 25.0
# A slot costs memory even while it is free.
MAX_SLOTS = 10_000


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker works. Durations are seconds.

    What it runs: `slots` jobs at once, from `queues` (names with weights), which `strict` serves in
    order instead of by weight; `labels` are what jobs can require. `commands` are the rules for
    commands; while they are allowed, "commands" is one of the labels. After `most` jobs it drains.

    Claims: `lease_for` is how long one lasts without renewal, `poll` how often an idle worker looks
    for jobs that no hint announced, `beat` the time between heartbeats. `keep`: a sidecar process
    renews the leases too, where other processes can open the store. `drain` is how long running
    jobs may finish when an `async with` block ends, or when the store orders a drain.

    Processes: a child is replaced after `max_jobs_per_process` jobs (0 for any number), or when it
    has grown above `max_rss_mb` MiB.
    Maintenance: `retention` is how long jobs of each final state are kept. `app` names the
    application in messages. `release` is its release: the first worker of a new one makes a mark in
    the history. `on_round` is called in the worker's loop about once a second while it works
    without errors; it must not raise.
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
    release: str = ""
    keep: bool = True
    max_jobs_per_process: int = 0
    max_rss_mb: int = 512
    retention: Mapping[State, float] = msgspec.field(default_factory=lambda: dict(RETENTION))
    on_round: Callable[[WorkerInfo], None] | None = None


def parse_worker_options(given: Mapping[str, Any]) -> WorkerOptions:
    """Return options as a program gives them; UsageError for an unknown or wrong one.

    `queues` may be names or pairs of name and weight, and durations may be strings like "5m".
    """
    parsed: dict[str, Any] = {}
    for name, value in given.items():
        read = RULES.get(name)
        if read is None:
            raise UsageError(f"unknown worker option {name!r}; choose from: {', '.join(RULES)}")
        try:
            parsed[name] = read(value)
        except UsageError as error:
            raise UsageError(f"worker option {name}={value!r}: {error}") from error
    return WorkerOptions(**parsed)


def _queues(value: Any) -> tuple[tuple[str, int], ...]:
    queues = tuple(map(_queue, _items(value, "names, or of pairs of name and weight")))
    names = [name for name, _ in queues]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UsageError(f"the queue {min(twice)!r} is given twice")
    return queues


def _queue(value: Any) -> tuple[str, int]:
    if isinstance(value, str):
        return validate_name(value), 1
    pair = cast("tuple[Any, ...]", value) if isinstance(value, tuple | list) else ()
    if len(pair) != 2:
        raise UsageError(f"a queue must be a name or a pair of name and weight, got {value!r}")
    name, weight = pair
    if isinstance(weight, bool) or not isinstance(weight, int) or weight not in WEIGHTS:
        raise UsageError(f"a weight must be a whole number from 1 to {WEIGHTS[-1]}, got {weight!r}")
    return validate_name(name), weight


def _labels(value: Any) -> frozenset[str]:
    return frozenset(map(validate_name, _items(value, "labels")))


def _items(value: Any, what: str) -> Iterable[Any]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        like = f", like [{value!r}]" if isinstance(value, str) else ""
        raise UsageError(f"must be a list of {what}{like}")
    return cast("Iterable[Any]", value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        raise UsageError("must be a whole number of 1 or more")
    return value


def _slots(value: Any) -> int:
    if _count(value) > MAX_SLOTS:
        raise UsageError(f"must be at most {MAX_SLOTS:,}; start several workers for more")
    return _count(value)


def _limit(value: Any) -> int:
    return 0 if value == 0 else _count(value)


def _most(value: Any) -> float:
    return inf if value == inf else _count(value)


def _positive(value: Any) -> float:
    return parse_duration(value, positive=True)


def _retention(value: Any) -> dict[State, float]:
    if not isinstance(value, Mapping):
        raise UsageError("must be a dictionary of seconds by final state")
    kept = cast("Mapping[Any, Any]", value)
    if not FINAL.issuperset(kept):
        raise UsageError(f"its keys must be final states: {', '.join(sorted(FINAL))}")
    return {State(state): _kept_for(time) for state, time in kept.items()}


def _kept_for(value: Any) -> float:
    return inf if value == inf else parse_duration(value)


def _instance_of(kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if not isinstance(value, kind):
            raise UsageError(f"must be of type {kind.__name__}")
        return value

    return read


def _release(value: Any) -> str:
    return _instance_of(str)(value) and checked_mark_text(value, "a release")


def _on_round(value: Any) -> Any:
    if value is not None and not callable(value):
        raise UsageError("must be a function")
    return value


RULES: dict[str, Callable[[Any], Any]] = {
    "queues": _queues,
    "slots": _slots,
    "strict": _instance_of(bool),
    "most": _most,
    "labels": _labels,
    "commands": _instance_of(CommandRules),
    "lease_for": _positive,
    "poll": _positive,
    "beat": _positive,
    "drain": parse_duration,
    "app": _instance_of(str),
    "release": _release,
    "keep": _instance_of(bool),
    "max_jobs_per_process": _limit,
    "max_rss_mb": _count,
    "retention": _retention,
    "on_round": _on_round,
}
