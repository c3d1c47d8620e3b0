"""What is done in the server's own loop, and when it is not."""

from __future__ import annotations

import asyncio

from conveyor.pending import in_event_loop
from conveyor.server.traffic import QUICK, WHILE, Traffic
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


def test_a_disk_that_was_slow_once_is_not_waited_for_in_the_next_while() -> None:
    clock = FakeClock()
    traffic = Traffic(clock.now)
    with traffic.going():
        with traffic.moment():
            clock.advance(QUICK * 1.1)
        assert not _carries_out(traffic)
        clock.advance(WHILE)
        assert _carries_out(traffic)
