"""One page of a list: it ends after so many entries, or before it has too many bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

# What a page may have, in bytes, unless its first entry alone has more.
PAGE_BYTES = 4 << 20
# How many entries of a list of queues, workers or schedules a page has, at most.
LISTED = 10_000
# What an entry counts beside its large fields.
ENTRY_BYTES = 1 << 10


class Page(list[T]):
    """The entries of one page of a list. `more`: whether there are entries after the last one.

    A page without more is the last one. One with more may be short, because it also ends before its
    entries have `PAGE_BYTES`. It is empty only in a search that looks at a limited number of
    entries: then `next` is where it stopped, in place of the last entry's number.
    """

    __slots__ = ("more", "next")

    def __init__(
        self,
        entries: Iterable[T] = (),
        *,
        more: bool = False,
        next: int | None = None,  # noqa: A002 - as in Next-Cursor
    ) -> None:
        super().__init__(entries)
        self.more = more
        self.next = next


def cut_page(entries: Iterable[T], limit: int, size: Callable[[T], int]) -> Page[T]:
    """Return the first of these entries as a page of at most `limit`.

    At most one entry more is looked at than the page has.
    """
    page: Page[T] = Page()
    left = PAGE_BYTES
    for entry in entries:
        left -= size(entry)
        if len(page) == limit or (left < 0 and page):
            page.more = True
            break
        page.append(entry)
    return page
