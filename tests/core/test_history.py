"""Buckets, percentiles, and how counts are kept."""

from __future__ import annotations

import random

import pytest

from conveyor.core.history import (
    BUCKETS,
    COMPLETED,
    ENQUEUED,
    FIRST_END,
    RETURNED,
    RUNS,
    SLOTS,
    STARTED,
    WAITS,
    add_counts,
    bucket,
    count_alike,
    decode_counts,
    encode_counts,
    make_point,
    minute_of,
    percentile,
)
from conveyor.core.spans import count, rate, span


@pytest.mark.parametrize(
    ("seconds", "number"),
    [
        (-5.0, 0), (0.0, 0), (0.0039, 0), (FIRST_END, 1), (0.0078, 1), (0.0079, 2),
        (0.99, 8), (1.0, 9), (1.99, 9), (2.0, 10), (16_383.0, 22), (16_384.0, 23), (1e12, 23),
    ],
)  # fmt: skip
def test_each_bucket_ends_at_twice_the_end_of_the_one_before(seconds: float, number: int) -> None:
    assert bucket(seconds) == number


def test_all_slots_have_a_place() -> None:
    places = [*range(RETURNED + 3), *range(WAITS, WAITS + BUCKETS), *range(RUNS, RUNS + BUCKETS)]
    assert len(set(places)) == len(places)
    assert max(places) < SLOTS


@pytest.mark.parametrize("part", [0.5, 0.95])
def test_a_percentile_is_right_within_a_factor_of_two(part: float) -> None:
    draw = random.Random(1)
    for spread in (0.1, 1.0, 3.0):
        times = sorted(draw.lognormvariate(0, spread) for _ in range(999))
        buckets = [0] * BUCKETS
        for each in times:
            buckets[bucket(each)] += 1
        exact = times[int(part * len(times))]
        found = percentile(buckets, part)
        assert found is not None
        assert exact / 2 <= found <= exact * 2


def test_the_percentile_of_nothing_is_not_known() -> None:
    assert percentile([0] * BUCKETS, 0.5) is None


@pytest.mark.parametrize("number", [0, 1, 9, BUCKETS - 1])
def test_a_percentile_is_within_its_bucket(number: int) -> None:
    buckets = [0] * BUCKETS
    buckets[number] = 7
    for part in (0.01, 0.5, 0.95, 1.0):
        found = percentile(buckets, part)
        assert found is not None
        assert (0 if number == 0 else FIRST_END * 2.0 ** (number - 1)) < found
        assert found <= FIRST_END * 2.0**number


def test_a_percentile_grows_with_its_part() -> None:
    buckets = [1, 0, 5, 3, *[0] * (BUCKETS - 5), 2]
    found = [percentile(buckets, part / 100) or 0.0 for part in range(1, 101)]
    assert found == sorted(found)


def test_counts_are_read_as_they_were_kept_and_slots_may_occur_twice() -> None:
    counts = {ENQUEUED: 3, STARTED: 1, WAITS + 4: 2, RUNS + 23: 5_000_000_000}
    codes = encode_counts(counts)
    assert decode_counts(codes) == counts
    assert decode_counts(codes + codes) == {slot: 2 * number for slot, number in counts.items()}


@pytest.mark.parametrize("damaged", [None, "x", 7, {"a": 1}, ["a"], [None], [True], [-64], [1.5]])
def test_what_cannot_be_read_counts_nothing(damaged: object) -> None:
    assert decode_counts(damaged) == {}


def test_rows_are_counted_by_what_they_have_in_common() -> None:
    assert count_alike([]) == {}
    assert count_alike([1, 1, 1]) == {(1,): 3}
    assert count_alike(["a", "a", "b"], [1, 2, 1]) == {("a", 1): 1, ("a", 2): 1, ("b", 1): 1}
    assert count_alike(["a", "a"], [None, None]) == {("a", None): 2}


def test_counts_add_up() -> None:
    total = {1: 1}
    add_counts(total, {1: 2, 3: 4})
    assert total == {1: 3, 3: 4}


def test_a_point_has_the_counts_under_their_names() -> None:
    point = make_point(60.0, {ENQUEUED: 2, COMPLETED: 1, RUNS + 9: 1})
    assert (point.at, point.enqueued, point.completed, point.started) == (60.0, 2, 1, 0)
    assert (point.waiting.count, point.running.count) == (0, 1)


def test_a_minute_begins_at_its_first_second() -> None:
    assert [minute_of(each) for each in (59.999, 60.0, 119.0)] == [0, 1, 1]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1.0, "0 s"), (0.0, "0 s"), (0.031, "31 ms"), (0.9996, "1 s"), (2.54, "2.5 s"),
        (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min"), (250.0, "4 min 10 s"),
        (3600.0, "1 h"), (3_661.0, "1 h 1 min"), (90_000.0, "1 d 1 h"),
    ],
)  # fmt: skip
def test_durations_are_shown_in_their_two_largest_units(seconds: float, shown: str) -> None:
    assert span(seconds) == shown


@pytest.mark.parametrize(
    ("per_second", "shown"),
    [(0.0, "0"), (0.004, "<0.01"), (0.05, "0.05"), (0.996, "1.0"), (7.14, "7.1"), (9.96, "10"),
     (1234.5, "1,234")],
)  # fmt: skip
def test_rates_have_about_two_digits(per_second: float, shown: str) -> None:
    assert rate(per_second) == shown


def test_one_is_not_many() -> None:
    assert [count(each, "job") for each in (0, 1, 1000)] == ["0 jobs", "1 job", "1,000 jobs"]
