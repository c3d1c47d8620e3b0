"""Reads from the store what the metrics of a server show, as far as a token may see it."""

from __future__ import annotations

import msgspec

from ..core.job import QueueInfo, WorkerInfo
from ..core.unreadable import UNREADABLE
from ..store.call_style import AsyncCalls
from ..store.http import payloads
from ..store.page_walk import read_workers
from ..store.protocol import Store
from .auth import Principal
from .visibility import loads_of, queues_named, visible_workers

# How many queues have series of their own: the first by name.
MAX_QUEUES = 1000
# How many scalers one request may name.
MAX_SCALERS = 20


class PoolSnapshot(msgspec.Struct, frozen=True):
    """The machines of a pool, as its scaler has noted them; see `autoscaler.plan.PoolCounts`."""

    pool: str
    wanted: int
    booting: int = 0
    idle: int = 0
    busy: int = 0
    draining: int = 0
    other: int = 0


class ScalerCycle(msgspec.Struct, frozen=True):
    """What of a scaler's last cycle is shown; see `autoscaler.status.ScalerStatus`."""

    at: float
    pools: tuple[PoolSnapshot, ...] = ()
    held: tuple[str, ...] = ()
    blind: dict[str, str] = {}


class _Note(msgspec.Struct, frozen=True):
    status: ScalerCycle


class ScalerSnapshot(msgspec.Struct, frozen=True):
    """A scaler: whether it leads now, and the result of its last cycle if that can be read."""

    name: str
    leads: bool
    status: ScalerCycle | None


class StoreSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a store. `oldest_at` is since when the first job of a queue could have run.

    `is_cut`: there are more queues than have series.
    """

    now: float
    queues: list[QueueInfo]
    is_cut: bool
    oldest_at: dict[str, float]
    workers: list[WorkerInfo]
    scalers: list[ScalerSnapshot]


async def read_store(store: Store, principal: Principal, scalers: list[str]) -> StoreSnapshot:
    """Return what a token may see of the queues, workers and scalers."""
    visible = principal.queues
    if visible:
        named = queues_named(store, visible)
        queues, is_cut = [each async for each in named][:MAX_QUEUES], False
    else:
        page = await store.counts(limit=MAX_QUEUES)
        queues, is_cut = list(page), page.more
    workers = await read_workers(AsyncCalls(), store)
    oldest_at: dict[str, float] = {}
    for load in await loads_of(store, visible, limit=payloads.MAX_ROWS):
        if load.oldest_at is not None:
            oldest_at[load.queue] = min(load.oldest_at, oldest_at.get(load.queue, load.oldest_at))
    now = store.now()
    return StoreSnapshot(
        now=now,
        queues=queues,
        is_cut=is_cut,
        oldest_at=oldest_at,
        workers=visible_workers(workers, visible) if visible else workers,
        scalers=[] if visible else await _read_scalers(store, scalers, now),
    )


async def _read_scalers(store: Store, names: list[str], now: float) -> list[ScalerSnapshot]:
    found = [await store.leader(name) for name in names[:MAX_SCALERS]]
    return [
        ScalerSnapshot(each.name, each.until > now, read_status(each.note))
        for each in found
        if each is not None
    ]


def read_status(note: str) -> ScalerCycle | None:
    """Return the status in the note of a scaler; None if it cannot be read."""
    try:
        return msgspec.json.decode(note, type=_Note).status
    except UNREADABLE:
        return None
