"""What a worker decides: how much to hold, and whom to ask first."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from conveyor.worker.prefetch import MOST_AHEAD, prefetch, smooth, wants


def test_slow_jobs_are_not_claimed_ahead() -> None:
    assert prefetch(finished=8, seconds=1.0) == 0


def test_short_jobs_are_claimed_ahead_for_twenty_milliseconds() -> None:
    assert prefetch(finished=10_000, seconds=1.0) == 200


def test_no_more_than_a_thousand_are_claimed_ahead() -> None:
    assert prefetch(finished=10_000_000, seconds=1.0) == MOST_AHEAD


@given(st.floats(0, 1e6), st.integers(0, 10**6), st.floats(0.001, 10))
def test_the_rate_never_falls_below_what_was_seen(rate: float, ended: int, seconds: float) -> None:
    assert smooth(rate, ended, seconds) >= ended / seconds


def test_the_rate_is_forgotten_within_seconds_when_jobs_become_slow() -> None:
    rate = 100_000.0
    for _ in range(8):
        rate = smooth(rate, 0, 0.5)
    assert prefetch(int(rate), 1.0) < 32


def test_strict_queues_are_asked_in_the_order_given() -> None:
    shares = [("high", 1), ("low", 100)]
    assert [want.queue for want in wants(shares, 5, strict=True)] == ["high", "low"]


def test_a_queue_of_weight_four_comes_first_four_times_as_often() -> None:
    draw = Random(1).random
    shares = [("images", 1), ("mail", 4)]
    first = Counter(wants(shares, 5, strict=False, draw=draw)[0].queue for _ in range(10_000))
    assert 3.7 < first["mail"] / first["images"] < 4.3


def test_every_queue_is_asked_each_time() -> None:
    asked = wants([("a", 1), ("b", 9), ("c", 2)], 7, strict=False)
    assert sorted(want.queue for want in asked) == ["a", "b", "c"]
    assert {want.limit for want in asked} == {7}
