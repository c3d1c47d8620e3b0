"""What a worker decides: how much to hold, and whom to ask first."""

from __future__ import annotations

from collections import Counter
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.worker.prefetch import (
    MOST_AHEAD,
    ClaimOrder,
    claim_limit,
    prefetch,
    smooth,
)
from conveyor.worker.report_batch import REPORT_WITHIN, are_reports_due


def test_slow_jobs_are_not_claimed_ahead() -> None:
    assert prefetch(finished=8, seconds=1.0) == 0


def test_short_jobs_are_claimed_ahead_for_forty_milliseconds() -> None:
    assert prefetch(finished=10_000, seconds=1.0) == 400


def test_no_more_than_a_thousand_are_claimed_ahead() -> None:
    assert prefetch(finished=10_000_000, seconds=1.0) == MOST_AHEAD


@pytest.mark.parametrize(
    ("held", "ready", "limit"),
    [
        (0, 0, 208),  # at first all that it may hold
        (200, 192, 0),  # not a few at a time, which would cost a transaction for each of them
        (108, 100, 0),
        (107, 99, 101),  # but again when half of what was claimed ahead has started
        (4, 0, 204),
        (208, 0, 0),
        (110, 110, 0),  # jobs that never wait leave their slots free, so more can be ready
        (103, 103, 105),
        (300, 292, 0),  # after a slow second it may hold more than it would claim
    ],
)
def test_jobs_are_claimed_in_batches(held: int, ready: int, limit: int) -> None:
    assert claim_limit(slots=8, ahead=200, left=inf, held=held, ready=ready) == limit


def test_a_few_jobs_are_claimed_where_reports_are_sent_anyway() -> None:
    assert claim_limit(slots=8, ahead=200, left=inf, held=200, ready=192, reports=True) == 8


@pytest.mark.parametrize(
    ("unreported", "ready", "since", "due"),
    [
        (0, 0, 60.0, False),
        (1, 0, 0.0, True),  # nothing else would soon be worth a transaction
        (1, 1, 0.0, False),
        (1, 1, REPORT_WITHIN, True),
    ],
)
def test_reports_wait_briefly_for_the_next_claim_while_jobs_are_in_line(
    unreported: int, ready: int, since: float, due: bool
) -> None:
    assert are_reports_due(unreported=unreported, ready=ready, since=since) is due


def test_a_slot_that_becomes_free_claims_at_once_where_nothing_is_ready() -> None:
    assert claim_limit(slots=8, ahead=0, left=inf, held=7, ready=0) == 1


def test_a_worker_claims_no_more_than_it_may_still_run() -> None:
    assert claim_limit(slots=8, ahead=200, left=3, held=1, ready=0) == 2


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
    order = ClaimOrder(shares, 5, strict=True)
    assert [want.queue for want in order.wants()] == ["high", "low"]


def test_a_queue_of_weight_four_comes_first_four_times_as_often() -> None:
    shares = [("images", 1), ("mail", 4)]
    order = ClaimOrder(shares, 5, strict=False, draw=Random(1).random)
    first = Counter(order.wants()[0].queue for _ in range(10_000))
    assert 3.7 < first["mail"] / first["images"] < 4.3


def test_every_queue_is_asked_each_time() -> None:
    asked = ClaimOrder([("a", 1), ("b", 9), ("c", 2)], 7, strict=False).wants()
    assert sorted(want.queue for want in asked) == ["a", "b", "c"]
    assert {want.limit for want in asked} == {7}
