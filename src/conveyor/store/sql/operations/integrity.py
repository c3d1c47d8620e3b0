"""The integrity check: the pages of the database, every row, and the stored counts."""

from __future__ import annotations

from collections import Counter

from ....core.lifecycle import damage_error
from ..rows import LANE, SEQ, decode_labels, to_record
from ..transaction import STATES, Tx

MOST = 100


async def check(tx: Tx) -> list[str]:
    """Return what is wrong, in words."""
    wrong = [str(text) for (text,) in await tx.rows("integrity") if text != "ok"]
    wrong += await _damaged_rows(tx)
    wrong += await _damaged_lanes(tx)
    wrong += await _wrong_counts(tx)
    return wrong[:MOST]


async def _damaged_rows(tx: Tx) -> list[str]:
    wrong: list[str] = []
    after = 0
    while len(wrong) < MOST and (rows := await tx.rows("scan", (after,))):
        for row in rows:
            job = to_record(row, await tx.queue_of(row[LANE]))
            if job.damage:
                wrong.append(damage_error(job).message)
        after = rows[-1][SEQ]
    return wrong


async def _damaged_lanes(tx: Tx) -> list[str]:
    return [
        f"the labels that jobs of queue {queue!r} require cannot be read (lane {lane}), so no "
        "worker claims these jobs: cancel them, and enqueue them again"
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
