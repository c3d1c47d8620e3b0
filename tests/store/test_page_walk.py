"""Lists that are read as a whole, from a store that answers what it likes: no more than fits."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conveyor.core.job import QueueInfo
from conveyor.core.page import Page
from conveyor.core.pending import Pending, ready, run_sync
from conveyor.errors import UnavailableError
from conveyor.store.call_style import BlockingCalls
from conveyor.store.page_walk import LARGEST_LIST, LONGEST_LIST, read_all


def queue(number: int) -> QueueInfo:
    return QueueInfo(name=f"q{number:09}", capacity=None, paused=False, counts={})


def pages(length: int, sizes: list[int]) -> Callable[[str], Pending[Page[QueueInfo]]]:
    """Return how to read pages of this length for ever; notes how many entries were read."""

    def read(after: str) -> Pending[Page[QueueInfo]]:
        first = int(after[1:]) + 1 if after else 0
        sizes.append(length)
        return ready(Page(map(queue, range(first, first + length)), more=True))

    return read


@pytest.mark.parametrize(
    ("length", "size", "most"), [(100_000, 1, LONGEST_LIST), (10, 1 << 20, LARGEST_LIST >> 20)]
)
def test_a_list_is_read_up_to_so_many_entries_and_bytes(length: int, size: int, most: int) -> None:
    read: list[int] = []
    with pytest.raises(UnavailableError, match=r"more than 1,000,000 entries or 256 MiB.*'q0"):
        run_sync(read_all(BlockingCalls(), pages(length, read), "name", "", lambda _: size))
    assert most <= sum(read) < most + length


def test_a_page_that_is_repeated_ends_the_list() -> None:
    def read(after: str) -> Pending[Page[QueueInfo]]:
        return ready(Page([queue(1)], more=True))

    with pytest.raises(UnavailableError, match="the store repeats a page"):
        run_sync(read_all(BlockingCalls(), read, "name", "", lambda _: 1))
