"""What is done in the server's own loop, and when it is not."""

from __future__ import annotations

import asyncio

from conveyor.core.pending import in_event_loop
from conveyor.server.inline_commit import PAUSE, SLOW, VERY_SLOW, InlineCommit
from conveyor.testing import FakeClock


def _carries_out(inline_commit: InlineCommit) -> bool:
    async def look() -> bool:
        with inline_commit.commit_here_if_alone():
            on_the_spot = not in_event_loop()
        assert in_event_loop()
        return on_the_spot

    return asyncio.run(look())


def test_a_request_that_is_alone_is_carried_out_on_the_spot() -> None:
    inline_commit = InlineCommit()
    with inline_commit.count_request():
        assert _carries_out(inline_commit)


def test_two_requests_share_the_commit_of_the_store_s_thread() -> None:
    inline_commit = InlineCommit()
    with inline_commit.count_request(), inline_commit.count_request():
        assert not _carries_out(inline_commit)


def test_whoever_waits_for_a_job_is_held_up_by_nobody() -> None:
    inline_commit = InlineCommit()
    with (
        inline_commit.count_request(),
        inline_commit.exclude_waiting(),
        inline_commit.count_request(),
    ):
        assert _carries_out(inline_commit)


def _have_one_take(inline_commit: InlineCommit, clock: FakeClock, seconds: float) -> None:
    with inline_commit.commit_here_if_alone():
        clock.advance(seconds)


def test_a_disk_that_was_slow_twice_in_a_row_is_not_waited_for_in_the_next_while() -> None:
    clock = FakeClock()
    inline_commit = InlineCommit(clock.now)
    with inline_commit.count_request():
        for _ in range(2):
            _have_one_take(inline_commit, clock, SLOW * 1.1)
        assert not _carries_out(inline_commit)
        clock.advance(PAUSE)
        _have_one_take(inline_commit, clock, SLOW * 1.1)  # it is tried, and is as slow as it was
        assert not _carries_out(inline_commit)
        clock.advance(PAUSE)
        assert _carries_out(inline_commit)


def test_one_that_was_very_slow_is_not_waited_for_either() -> None:
    clock = FakeClock()
    inline_commit = InlineCommit(clock.now)
    with inline_commit.count_request():
        _have_one_take(inline_commit, clock, VERY_SLOW * 1.1)
        assert not _carries_out(inline_commit)


def test_one_commit_that_makes_a_checkpoint_says_nothing_of_the_next() -> None:
    clock = FakeClock()
    inline_commit = InlineCommit(clock.now)
    with inline_commit.count_request():
        for _ in range(3):
            _have_one_take(inline_commit, clock, SLOW * 1.1)
            assert _carries_out(inline_commit)
