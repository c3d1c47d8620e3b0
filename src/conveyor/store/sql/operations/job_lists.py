"""Lists of jobs and of their attempts, and how many there are.

A list looks at the jobs one by one in their order, at a limited number of them, except where few
can match: if their states are rare, or by their failures, they are picked by an index first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from ....core.attempts import Attempt, attempt_of, with_last
from ....core.bulk import COUNTED, BulkAction, changeable_states
from ....core.job import DETAILS, HISTORY, Detail, JobRecord, State
from ....core.page import ENTRY_BYTES, PAGE_BYTES, Page, cut_page
from ...bulk_rules import check_filter, matched
from ...messages import LOOKED_AT, SEARCHED, Filter, JobCounts, Matched
from ..queue_state import STATES
from ..rows import LANE, Row, listed_record
from ..transaction import Tx
from .admin import get, read_history

LAST_SEQ = 2**63 - 1
# The columns of a page of sizes, after seq.
_SIZED = ("args", "options", "result", "stopping", "progress")
# Passing over a large value takes a part of the time that reading it takes.
PASSED_OVER = 16
# How many jobs are looked at first.
FIRST_SIZES = 64

_encode = msgspec.json.Encoder().encode


class Picked(msgspec.Struct, frozen=True):
    """Jobs among which all that match are, in the order of the list. `more`: up to the last one."""

    numbers: list[int]
    more: bool = False


async def find(
    tx: Tx, which: Filter, *, limit: int, include: Collection[Detail] = ()
) -> Page[JobRecord]:
    """Return one page of jobs, newest first."""
    omitted = DETAILS.difference(include)
    page = await find_numbers(tx, which, limit, [name in omitted for name in _SIZED])
    if not page:
        return Page(more=page.more, next=page.next)
    details = {f"with_{name}": name in include for name in DETAILS}
    rows = await tx.rows("find", {**details, "numbers": listed(page)})
    jobs = [listed_record(row, await tx.queue_of(row[LANE]), omitted) for row in rows]
    jobs.sort(key=lambda job: job.seq, reverse=not which.oldest_first)
    return Page(jobs, more=page.more, next=page.next)


async def find_numbers(
    tx: Tx, which: Filter, limit: int, passed_over: Sequence[bool] = (True,) * len(_SIZED)
) -> Page[int]:
    """Return the numbers of one page of jobs. A page that is empty can have a `next`."""
    check_filter(which)
    picked = await _pick(tx, which)
    if picked is None:
        found, end = await _search(tx, which, limit, passed_over)
    else:
        found, end = await _search_among(tx, which, picked), None
        if picked.more:
            end = picked.numbers[-1]
    page = cut_page(found, limit, lambda row: _size(row, passed_over))
    numbers = [int(row[0]) for row in page]
    if page.more:
        return Page(numbers, more=True)
    return Page(numbers, more=end is not None, next=end)


async def attempts(tx: Tx, job_id: str, *, after: int = 0, limit: int = HISTORY) -> Page[Attempt]:
    """Return one page of a job's attempts, oldest first."""
    job = await get(tx, job_id)
    page = await read_history(tx, job.seq, after=after, limit=limit, all_of_them=True)
    if page.more:
        return Page(map(attempt_of, page), more=True)
    return Page(with_last(page, job))


async def job_counts(tx: Tx, which: Filter) -> JobCounts:
    """Count the jobs of a filter."""
    check_filter(which)
    found: Counter[tuple[State, str]] = Counter()
    wanted = [state for state in STATES if not which.states or state in which.states]
    dense: list[State] = []
    is_complete = True
    if _is_of_queues(which):
        found.update(await _kept_counts(tx, which.queue))
    else:
        for state in wanted:
            one = msgspec.structs.replace(which, states=frozenset({state}))
            picked = await _pick(tx, one)
            if picked is None:
                dense.append(state)
            else:
                is_complete = is_complete and not picked.more
                found.update(await _count(tx, "count_among", one, numbers=listed(picked.numbers)))
    looked_at: int | None = None
    if dense:
        some = msgspec.structs.replace(which, states=frozenset(dense))
        found.update(await _count(tx, "count_matching", some, rows=_rows(which)))
        _, _, seen = await _looked_at(tx, some)
        if seen == _rows(which):
            is_complete, looked_at = False, seen
    return _summed(found, wanted, is_complete=is_complete, looked_at=looked_at)


async def match(tx: Tx, which: Filter, action: BulkAction) -> Matched:
    """Count the jobs that an action on a filter would change."""
    changeable_states(action, which.states)
    [(_, newest)] = await tx.rows("seq_bounds")
    return matched(await job_counts(tx, which), which, action, upto=newest or 0)


async def _pick(tx: Tx, which: Filter) -> Picked | None:
    """Return the jobs among which those of a filter are; None if there may be too many."""
    if which.error is not None:
        oldest = "_oldest" if which.oldest_first else ""
        params = {**_place(which), "error": which.error, "limit": LOOKED_AT + 1}
        rows = await tx.rows(f"failed_alike{oldest}", params)
        return Picked([seq for (seq,) in rows[:LOOKED_AT]], more=len(rows) > LOOKED_AT)
    if not which.states or which.text is not None:
        return None
    numbers: list[int] = []
    for statement, state in _by_state(which.states):
        rows = await tx.rows(statement, (*state, LOOKED_AT + 1 - len(numbers)))
        numbers += [seq for (seq,) in rows]
        if len(numbers) > LOOKED_AT:
            return None
    place = _place(which)
    within = (seq for seq in numbers if place["after"] < seq < place["before"])
    return Picked(sorted(within, reverse=not which.oldest_first))


def _by_state(states: Collection[State]) -> list[tuple[str, tuple[object, ...]]]:
    """Return the statements that walk the jobs of some states, those of the rarest ones first."""
    statements: list[tuple[str, tuple[object, ...]]] = []
    if State.RUNNING in states:
        statements.append(("some_running", ()))
    if State.SCHEDULED in states or State.RETRYABLE in states:
        statements.append(("some_later", ()))
    for state in (State.CANCELLED, State.DISCARDED, State.COMPLETED):
        if state in states:
            statements.append(("some_final", (state,)))
    if State.AVAILABLE in states:
        statements.append(("some_available", ()))
    return statements


async def _search_among(tx: Tx, which: Filter, picked: Picked) -> list[Row]:
    """Return the sizes of those of the picked jobs that match."""
    if not picked.numbers:
        return []
    params = {**_params(which), "numbers": listed(picked.numbers)}
    found = await tx.rows("find_sizes_among", params)
    return found if which.oldest_first else found[::-1]


async def _search(
    tx: Tx, which: Filter, limit: int, passed_over: Sequence[bool]
) -> tuple[list[Row], int | None]:
    """Return the sizes of a page of jobs, and where the search stopped if it did too early.

    How large they are is known only of some, so few are looked at before that is known.
    """
    oldest = "_oldest" if which.oldest_first else ""
    found: list[Row] = []
    at_once, size = FIRST_SIZES, 0
    while len(found) <= limit and size <= PAGE_BYTES:
        asked = min(at_once, limit + 1 - len(found))
        params = {**_params(which), "rows": _rows(which), "limit": asked}
        rows = await tx.rows(f"find_sizes{oldest}", params)
        found += rows
        size += sum(_size(row, passed_over) for row in rows)
        if len(rows) < asked:
            first, last, seen = await _looked_at(tx, which)
            return found, (last if oldest else first) if seen == _rows(which) else None
        at_once = 1 + PAGE_BYTES * len(found) // size
        which = _from(which, rows[-1][0])
    return found, None


def _from(which: Filter, seq: int) -> Filter:
    """Return the filter for the jobs that follow one."""
    if which.oldest_first:
        return msgspec.structs.replace(which, after=seq)
    return msgspec.structs.replace(which, before=seq)


async def _looked_at(tx: Tx, which: Filter) -> tuple[int, int, int]:
    """Return the first and the last job that a search looks at, and how many these are."""
    oldest = "_oldest" if which.oldest_first else ""
    [row] = await tx.rows(f"looked_at{oldest}", {**_place(which), "rows": _rows(which)})
    first, last, seen = row
    return first or 0, last or 0, seen


def _size(row: Row, passed_over: Sequence[bool]) -> int:
    """Return what a job counts, of its seq and the sizes of its large fields.

    One that is only passed over, to what is stored behind it, counts a part of its size.
    """
    return ENTRY_BYTES + sum(
        (size or 0) // (PASSED_OVER if passed else 1)
        for size, passed in zip(row[1:], passed_over, strict=True)
    )


def _rows(which: Filter) -> int:
    return LOOKED_AT if which.text is None else SEARCHED


def _place(which: Filter) -> dict[str, Any]:
    return {
        "before": LAST_SEQ if which.before is None else which.before,
        "after": -1 if which.after is None else which.after,
    }


def _params(which: Filter) -> dict[str, Any]:
    return {
        **_place(which),
        "queue": which.queue,
        "task": which.task,
        "states": _encode(sorted(which.states)).decode() if which.states else None,
        "worker": which.worker,
        "enqueued_before": which.enqueued_before,
        "enqueued_after": which.enqueued_after,
        "sought": None if which.text is None else which.text.encode(),
        "error": which.error,
    }


def listed(numbers: Sequence[int]) -> str:
    """Return numbers as the statements take them: as a JSON array."""
    return _encode(list(numbers)).decode()


# -- counts --------------------------------------------------------------------------------------


def _is_of_queues(which: Filter) -> bool:
    """Whether a filter says nothing but a queue and states, which are counted anyway."""
    return which == Filter(queue=which.queue, states=which.states, oldest_first=which.oldest_first)


async def _kept_counts(tx: Tx, queue: str | None) -> Counter[tuple[State, str]]:
    if queue is None:
        rows = [(row[0], row[3:]) for row in await tx.rows("queues")]
    else:
        rows = [(queue, row[2:]) for row in await tx.rows("queue", (queue,))]
    return Counter(
        {
            (state, name): count
            for name, counts in rows
            for state, count in zip(STATES, counts, strict=True)
            if type(count) is int
        }
    )


async def _count(
    tx: Tx, statement: str, which: Filter, **more: object
) -> Counter[tuple[State, str]]:
    found: Counter[tuple[State, str]] = Counter()
    for state, lane, count in await tx.rows(statement, {**_params(which), **more}):
        if state in STATES:  # else it is in a damaged row
            found[State(state), await tx.queue_of(lane)] += count
    return found


def _summed(
    found: Counter[tuple[State, str]],
    wanted: Sequence[State],
    *,
    is_complete: bool,
    looked_at: int | None,
) -> JobCounts:
    states: Counter[State] = Counter()
    queues: Counter[str] = Counter()
    for (state, queue), count in found.items():
        if state in wanted and count > 0:
            states[state] += count
            queues[queue] += min(count, COUNTED)
    return JobCounts(
        counts={state: min(states[state], COUNTED) for state in wanted},
        queues=dict(queues),
        is_capped=any(count > COUNTED for count in states.values()),
        is_complete=is_complete,
        looked_at=looked_at,
    )
