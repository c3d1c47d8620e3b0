"""The filter of `Conveyor.jobs`, validated."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.job import State
from ..errors import UsageError
from ..store.messages import Filter

PAGE = 1000


def job_filter(
    *,
    queue: str | None,
    task: str | None,
    states: Iterable[State | str],
    before: int | None,
    limit: int,
) -> Filter:
    """Return the filter for a page of at most `limit` jobs; UsageError for a wrong argument."""
    if isinstance(limit, bool) or not 1 <= limit <= PAGE:
        raise UsageError(
            f"limit must be 1 to {PAGE:,}, got {limit!r}; for more, pass before=last.seq"
        )
    if before is not None and (type(before) is not int or not 0 <= before < 1 << 63):
        raise UsageError(f"before must be the `seq` of a job, got {before!r}")
    names: dict[str, object] = {"queue": queue, "task": task}
    for field, name in names.items():
        if not isinstance(name, str | None):
            raise UsageError(f"{field} must be a name or None, got {name!r:.200}")
    if isinstance(states, str):
        raise UsageError(f"states must be a list of states, got a string: write [{str(states)!r}]")
    return Filter(queue=queue, task=task, states=frozenset(map(_state, states)), before=before)


def _state(name: State | str) -> State:
    try:
        return State(name)
    except ValueError:
        raise UsageError(f"unknown state {name!r}; choose from: {', '.join(State)}") from None
