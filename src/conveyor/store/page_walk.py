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
from .list_rules import attempt_size, queue_size, worker_size
from .messages import Filter
from .protocol import Store

T = TypeVar("T")

# How many entries are asked for at once. How many a list can have that is read as a whole, and how
# many bytes, as its pages count them.
PAGE = 1000
LONGEST_LIST, LARGEST_LIST = 1_000_000, 256 << 20


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

    return await read_all(call_style, read, "seq", 0, attempt_size, timeout)


async def read_queues(
    call_style: CallStyle, store: Store, timeout: float | None = None
) -> list[QueueInfo]:
    """Return every queue that was ever used, by name; TimeoutError as above."""

    def read(name: str) -> Pending[Page[QueueInfo]]:
        return store.counts(after=name)

    return await read_all(call_style, read, "name", "", queue_size, timeout)


async def read_workers(
    call_style: CallStyle, store: Store, timeout: float | None = None
) -> list[WorkerInfo]:
    """Return all workers that sent a beat, by id; TimeoutError as above."""

    def read(name: str) -> Pending[Page[WorkerInfo]]:
        return store.workers(after=name)

    return await read_all(call_style, read, "id", "", worker_size, timeout)


async def read_schedules(
    call_style: CallStyle, store: Store, timeout: float | None = None
) -> list[ScheduleInfo]:
    """Return all schedules, by name; TimeoutError as above."""

    def read(name: str) -> Pending[Page[ScheduleInfo]]:
        return store.schedules(after=name)

    return await read_all(call_style, read, "name", "", queue_size, timeout)


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
    size: Callable[[T], int],
    timeout: float | None = None,
) -> list[T]:
    """Return all entries of a list. `read` returns the page after a value of the field `cursor`.

    UnavailableError if they are more than `LONGEST_LIST`, or have more bytes than `LARGEST_LIST`.
    """
    found: list[T] = []
    left = LARGEST_LIST
    while True:
        page = await call_style.wait_for(read(after), timeout)
        found += page
        left -= sum(map(size, page))
        if not page.more:
            return found
        last = getattr(page[-1], cursor)
        if last <= after:
            raise _endless("entries")
        if len(found) >= LONGEST_LIST or left <= 0:
            raise UnavailableError(
                f"a list has more than {LONGEST_LIST:,} entries or {LARGEST_LIST >> 20} MiB; it "
                f"was read up to {last!r:.100}"
            )
        after = last


def _endless(what: str) -> UnavailableError:
    return UnavailableError(f"the list of {what} has no end: the store repeats a page")
