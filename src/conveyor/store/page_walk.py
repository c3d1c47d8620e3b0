"""Reads lists that have several pages, in blocking code or in a coroutine."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

import msgspec

from ..core.job import DETAILS, AttemptError, Detail, JobRecord, QueueInfo, ScheduleInfo, WorkerInfo
from ..core.page import Page
from ..core.pending import Pending
from ..errors import UnavailableError
from .call_style import CallStyle
from .messages import Filter
from .protocol import Store

T = TypeVar("T")

# How many entries are asked for at once, and how many a list can have.
PAGE, LONGEST_LIST = 1000, 1_000_000


async def read_jobs(
    call_style: CallStyle,
    store: Store,
    which: Filter,
    *,
    limit: int,
    include: Collection[Detail] = DETAILS,
) -> Page[JobRecord]:
    """Return the newest jobs of a filter, at most `limit`, in as many pages as that takes."""
    found: Page[JobRecord] = Page()
    while True:
        asked = min(PAGE, limit - len(found))
        page = await call_style.wait_for(store.find(which, limit=asked, include=include))
        found += page
        found.more = page.more
        if not page.more or len(found) >= limit:
            return found
        last = page[-1].seq if page.next is None else page.next
        if which.before is not None and last >= which.before:
            raise _endless("jobs")
        which = msgspec.structs.replace(which, before=last)


async def read_history(
    call_style: CallStyle, store: Store, job_id: str, timeout: float | None = None
) -> list[AttemptError]:
    """Return all attempts of a job that did not succeed, oldest first.

    TimeoutError if a page takes longer than `timeout` seconds.
    """

    def read(after: int) -> Pending[Page[AttemptError]]:
        return store.history(job_id, after=after)

    return await read_all(call_style, read, "seq", 0, timeout)


async def read_queues(
    call_style: CallStyle, store: Store, timeout: float | None = None
) -> list[QueueInfo]:
    """Return every queue that was ever used, by name; TimeoutError as above."""
    return await read_all(call_style, lambda name: store.counts(after=name), "name", "", timeout)


async def read_workers(
    call_style: CallStyle, store: Store, timeout: float | None = None
) -> list[WorkerInfo]:
    """Return all workers that sent a beat, by id; TimeoutError as above."""
    return await read_all(call_style, lambda name: store.workers(after=name), "id", "", timeout)


async def read_schedules(
    call_style: CallStyle, store: Store, timeout: float | None = None
) -> list[ScheduleInfo]:
    """Return all schedules, by name; TimeoutError as above."""
    return await read_all(call_style, lambda name: store.schedules(after=name), "name", "", timeout)


async def read_schedule(call_style: CallStyle, store: Store, name: str) -> ScheduleInfo | None:
    """Return the schedule with a name, or None, without reading those before it."""
    after = _shortly_before(name)
    while True:
        page = await call_style.wait_for(store.schedules(after=after, limit=1))
        if not page or page[0].name >= name:
            return page[0] if page and page[0].name == name else None
        after = page[0].name


def _shortly_before(name: str) -> str:
    """Return a text before a name, with as good as no name between them."""
    last = ord(name[-1]) - 1
    if 0xD800 <= last <= 0xDFFF:  # half of a character
        last = 0xD7FF
    return f"{name[:-1]}{chr(last)}\U0010ffff" if last > 0 else name[:-1]


async def read_all(
    call_style: CallStyle,
    read: Callable[[Any], Pending[Page[T]]],
    cursor: str,
    after: Any,
    timeout: float | None = None,
) -> list[T]:
    """Return all entries of a list. `read` returns the page after a value of the field `cursor`."""
    found: list[T] = []
    while len(found) < LONGEST_LIST:
        page = await call_style.wait_for(read(after), timeout)
        found += page
        if not page.more:
            return found
        last = getattr(page[-1], cursor)
        if last <= after:
            break
        after = last
    raise _endless("entries")


def _endless(what: str) -> UnavailableError:
    return UnavailableError(f"the list of {what} has no end: the store repeats a page")
