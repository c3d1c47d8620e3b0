"""What is in the way of a move: it waits for workers, jobs and producers to end."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ..sql.operations.workers import workers
from ..sql.transaction import Tx
from ..worker_status import is_silent

# How many workers a message names.
SHOWN = 5


async def find_source_obstacles(tx: Tx, place: str) -> list[str]:
    """Return what still changes jobs in the source, and what to do about it."""
    found = await _live_workers(tx, place)
    [(leased, until)] = await tx.rows("count_leased", (tx.now,))
    if leased:
        found.append(
            f"{leased:,} running jobs, under leases that end in {max(0.0, until - tx.now):.0f} s "
            "unless a worker renews them: wait until they have ended"
        )
    [(offers,)] = await tx.rows("count_waiting_offers", (tx.now,))
    if offers:
        found.append(f"{offers:,} producers that wait for room in a full queue: stop them")
    found += [
        f"{holder}, which holds the leadership {name!r}: stop this autoscaler, or wait a minute if "
        "it was killed"
        for name, holder in await tx.rows("current_leaders", (tx.now,))
    ]
    return found


async def find_target_obstacles(tx: Tx, place: str) -> list[str]:
    """Return what the target has already, and who uses it."""
    there = [str(name) for name, count in await tx.rows("content_of_store") if count]
    found = await _live_workers(tx, place)
    if there:
        found.append(
            f"{_listed(there)} in {place}, which are not of this move: name an empty store, like "
            "another file or another schema=NAME of the database"
        )
    return found


async def _live_workers(tx: Tx, place: str) -> list[str]:
    page = await workers(tx)
    alive = [each.id for each in page if not is_silent(each.beat_at, tx.now)]
    if not alive:
        return []
    more = f" and {len(alive) - SHOWN} more" if len(alive) > SHOWN else ""
    drain = ("conveyor", "workers", "drain", *alive[:SHOWN], "--wait", "10m", "--url", place)
    told = (
        f"workers of {place}: {_listed(alive[:SHOWN])}{more}. Stop them, or let them finish with "
        f"`{shlex.join(drain)}`. One that "
        "was killed counts until it has sent nothing for a minute"
    )
    return [told]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
