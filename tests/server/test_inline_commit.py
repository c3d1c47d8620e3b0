"""What is done in the server's own loop, and when it is not."""

from __future__ import annotations

import asyncio

from conveyor.core.pending import in_event_loop
from conveyor.server.inline_commit import LONG, QUICK, WHILE, Traffic
from conveyor.testing import FakeClock


def _carries_out(traffic: Traffic) -> bool:
    async def look() -> bool:
        with traffic.moment():
            on_the_spot = not in_event_loop()
        assert in_event_loop()
        return on_the_spot

    return asyncio.run(look())


def test_a_request_that_is_alone_is_carried_out_on_the_spot() -> None:
    traffic = Traffic()
    with traffic.going():
        assert _carries_out(traffic)


def test_two_requests_share_the_commit_of_the_store_s_thread() -> None:
    traffic = Traffic()
    with traffic.going(), traffic.going():
        assert not _carries_out(traffic)


def test_whoever_waits_for_a_job_is_held_up_by_nobody() -> None:
    traffic = Traffic()
    with traffic.going(), traffic.waiting(), traffic.going():
        assert _carries_out(traffic)


def _have_one_take(traffic: Traffic, clock: FakeClock, seconds: float) -> None:
    with traffic.moment():
        clock.advance(seconds)


def test_a_disk_that_was_slow_twice_in_a_row_is_not_waited_for_in_the_next_while() -> None:
    clock = FakeClock()
    traffic = Traffic(clock.now)
    with traffic.going():
        for _ in range(2):
            _have_one_take(traffic, clock, QUICK * 1.1)
        assert not _carries_out(traffic)
        clock.advance(WHILE)
        _have_one_take(traffic, clock, QUICK * 1.1)  # it is tried, and is as slow as it was
        assert not _carries_out(traffic)
        clock.advance(WHILE)
        assert _carries_out(traffic)


def test_one_that_was_very_slow_is_not_waited_for_either() -> None:
    clock = FakeClock()
    traffic = Traffic(clock.now)
    with traffic.going():
        _have_one_take(traffic, clock, LONG * 1.1)
        assert not _carries_out(traffic)


def test_one_commit_that_makes_a_checkpoint_says_nothing_of_the_next() -> None:
    clock = FakeClock()
    traffic = Traffic(clock.now)
    with traffic.going():
        for _ in range(3):
            _have_one_take(traffic, clock, QUICK * 1.1)
            assert _carries_out(traffic)
