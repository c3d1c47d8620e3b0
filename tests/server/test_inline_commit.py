"""When a request commits in the server's event loop, and when it does not."""

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


def test_a_lone_request_commits_in_the_event_loop() -> None:
    inline_commit = InlineCommit()
    with inline_commit.count_request():
        assert _carries_out(inline_commit)


def test_two_requests_commit_in_the_thread_of_the_store() -> None:
    inline_commit = InlineCommit()
    with inline_commit.count_request(), inline_commit.count_request():
        assert not _carries_out(inline_commit)


def test_a_request_that_only_waits_does_not_count() -> None:
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


def test_two_slow_commits_in_a_row_pause_commits_in_the_event_loop() -> None:
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


def test_one_very_slow_commit_pauses_commits_in_the_event_loop() -> None:
    clock = FakeClock()
    inline_commit = InlineCommit(clock.now)
    with inline_commit.count_request():
        _have_one_take(inline_commit, clock, VERY_SLOW * 1.1)
        assert not _carries_out(inline_commit)


def test_one_slow_commit_pauses_nothing() -> None:
    clock = FakeClock()
    inline_commit = InlineCommit(clock.now)
    with inline_commit.count_request():
        for _ in range(3):
            _have_one_take(inline_commit, clock, SLOW * 1.1)
            assert _carries_out(inline_commit)
