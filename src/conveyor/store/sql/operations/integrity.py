"""The integrity check: the pages of the database, every row, and the stored counts."""

from __future__ import annotations

from collections import Counter

from ....core.lifecycle import damage_error
from ....core.page import Page
from ..queue_state import STATES
from ..rows import LANE, SEQ, decode_labels, is_time, to_record
from ..transaction import Tx
from . import maintenance, tokens, workers
from .callbacks import damaged_callbacks
from .enqueue import LARGE_ROWS, is_offer_intact
from .tasks import task_defaults

MOST, PAGE = 100, 1000


async def check(tx: Tx) -> list[str]:
    """Return what is wrong, in words."""
    wrong = [str(text) for (text,) in await tx.rows("integrity") if text != "ok"]
    wrong += await _damaged_workers(tx)
    wrong += await _damaged_schedules(tx)
    wrong += await _damaged_tokens(tx)
    wrong += await _damaged_offers(tx)
    wrong += await _damaged_leaders(tx)
    wrong += await _damaged_declarations(tx)
    wrong += await _damaged_lanes(tx)
    wrong += await _damaged_rows(tx)
    wrong += await _wrong_counts(tx)
    return wrong[:MOST]


async def _damaged_rows(tx: Tx) -> list[str]:
    wrong: list[str] = []
    has_callbacks = bool(await tx.rows("any_callback"))
    after = 0
    while len(wrong) < MOST and (rows := await tx.rows("scan", (after,))):
        for row in rows:
            job = to_record(row, await tx.queue_of(row[LANE]))
            if job.damage:
                wrong.append(damage_error(job).message)
            if has_callbacks:
                wrong += await damaged_callbacks(tx, job)
        after = rows[-1][SEQ]
    return wrong


async def _damaged_workers(tx: Tx) -> list[str]:
    wrong: list[str] = []
    after: str | None = None
    while len(wrong) < MOST and (rows := await tx.rows("workers", (after, LARGE_ROWS))):
        wrong += [
            f"the row of worker {row[0]} is damaged: its next heartbeat writes it again. If it has "
            f"exited, remove it with `conveyor workers remove {row[0]}`"
            for row in rows
            if not workers.is_intact(row)
        ]
        if len(rows) < LARGE_ROWS:
            break
        after = rows[-1][0]
    return wrong


async def _damaged_schedules(tx: Tx) -> list[str]:
    wrong: list[str] = []
    page = await maintenance.schedules(tx)
    while page and len(wrong) < MOST:
        wrong += [
            f"the row of schedule {each.name!r} is damaged: its application declares it again when "
            f"it starts. Otherwise remove it with `conveyor schedules remove {each.name}`"
            for each in page
            if not maintenance.is_schedule_intact(each)
        ]
        page = await maintenance.schedules(tx, after=page[-1].name) if page.more else Page()
    return wrong


async def _damaged_tokens(tx: Tx) -> list[str]:
    wrong: list[str] = []
    after = ""
    while len(wrong) < MOST and (rows := await tx.rows("tokens", (after, PAGE))):
        wrong += [
            f"the row of token {row[0]} is damaged, so it may allow nothing: revoke it with "
            f"`conveyor token revoke {row[0]}`, and create another"
            for row in rows
            if not tokens.is_intact(row)
        ]
        after = rows[-1][0]
    return wrong


async def _damaged_offers(tx: Tx) -> list[str]:
    return [
        f"offer {row[0]} of a producer that waits for room in queue {row[1]!r} is damaged: "
        "maintenance deletes it, and the producer asks again"
        for row in await tx.rows("all_offers")
        if not is_offer_intact(row)
    ]


async def _damaged_leaders(tx: Tx) -> list[str]:
    return [
        f"the leadership {name!r} is damaged and binds nobody: the next candidate takes it over"
        for name, until, since, term in await tx.rows("leaders")
        if not (is_time(until) and is_time(since) and type(term) is int)
    ]


async def _damaged_declarations(tx: Tx) -> list[str]:
    return [
        f"what an application declared about task {name!r} cannot be read and is ignored: a worker "
        "of the application declares it again when it starts"
        for name, _ in await tx.rows("tasks")
        if await task_defaults(tx, name) is None
    ]


async def _damaged_lanes(tx: Tx) -> list[str]:
    return [
        f"the labels that jobs of queue {queue!r} require cannot be read (lane {lane}); workers "
        "take them from the jobs themselves, so none is lost. Check the disk"
        for lane, queue, requires in await tx.rows("used_lanes")
        if decode_labels(requires) is None
    ]


async def _wrong_counts(tx: Tx) -> list[str]:
    counted: dict[str, Counter[str]] = {}
    for queue, state, number in await tx.rows("count_states"):
        counted.setdefault(queue, Counter())[state] = number
    wrong: list[str] = []
    for name, _, _, *numbers in await tx.rows("queues"):
        for state, kept in zip(STATES, numbers, strict=True):
            true = counted.get(name, Counter())[state]
            if kept != true:
                wrong.append(f"queue {name!r} says {kept} {state} jobs, and there are {true}")
    return wrong
