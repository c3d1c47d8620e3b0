"""Adds up waiting and running jobs by queue and labels: one rule for every store."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from .messages import Load


def add_up(parts: Iterable[Load], *, limit: int) -> list[Load]:
    """Return one load for each queue and set of labels, sorted, if any job waits or runs."""
    loads: dict[tuple[str, tuple[str, ...]], Load] = {}
    for part in parts:
        key = part.queue, tuple(sorted(set(part.requires)))
        known = loads.get(key, Load(*key, waiting=0, running=0))
        loads[key] = msgspec.structs.replace(
            known,
            waiting=known.waiting + part.waiting,
            running=known.running + part.running,
            oldest_at=_first(known.oldest_at, part.oldest_at),
        )
    return [loads[key] for key in sorted(loads) if loads[key].waiting or loads[key].running][:limit]


def _first(one: float | None, other: float | None) -> float | None:
    times = [each for each in (one, other) if each is not None]
    return min(times, default=None)
