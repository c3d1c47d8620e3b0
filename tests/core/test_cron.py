"""When schedules are due, in time zones with and without daylight saving."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.core import cron
from conveyor.errors import UsageError

BERLIN = ZoneInfo("Europe/Berlin")


def at(*parts: int, fold: int = 0) -> float:
    return dt.datetime(*parts, tzinfo=BERLIN, fold=fold).timestamp()  # type: ignore[arg-type, misc]


def test_a_tick_in_the_hour_that_spring_leaves_out_happens_once_that_day() -> None:
    rule = cron.parse("30 2 * * *", "Europe/Berlin")
    first = cron.next_tick(rule, at(2026, 3, 28, 12))
    assert at(2026, 3, 29, 0) < first < at(2026, 3, 29, 4)
    assert cron.next_tick(rule, first) == at(2026, 3, 30, 2, 30)


def test_a_tick_in_the_hour_that_autumn_repeats_happens_once_that_day() -> None:
    rule = cron.parse("30 2 * * *", "Europe/Berlin")
    first = cron.next_tick(rule, at(2026, 10, 24, 12))
    assert first == at(2026, 10, 25, 2, 30)
    assert cron.next_tick(rule, first) == at(2026, 10, 26, 2, 30)


def test_an_hourly_tick_goes_through_both_hours_that_autumn_repeats() -> None:
    rule = cron.parse("@hourly", "Europe/Berlin")
    ticks = [at(2026, 10, 25, 1)]
    for _ in range(4):
        ticks.append(cron.next_tick(rule, ticks[-1]))
    assert [later - earlier for earlier, later in itertools.pairwise(ticks)] == [3600.0] * 4


@given(
    st.sampled_from(["*/5 * * * *", "0 3 * * 1-5", "@daily", "@monthly", "every 90"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    st.integers(1_600_000_000, 1_900_000_000),
    st.integers(0, 40_000_000),
    st.sampled_from(["skip", "once", "all"]),
)
def test_ticks_are_due_in_order_and_the_next_one_lies_ahead(
    text: str, zone: str, start: int, later: int, missed: Any
) -> None:
    rule = cron.parse(text, zone)
    due_at = cron.next_tick(rule, start)
    now = due_at + later
    ticks, following = cron.due_ticks(rule, due_at, now, missed)
    assert following > now
    assert list(ticks) == sorted(set(ticks))
    assert all(due_at <= tick <= now for tick in ticks)
    assert len(ticks) <= (cron.MAX_TICKS if missed == "all" else 1)
    if missed != "skip":
        assert ticks


def test_an_interval_ticks_at_its_multiples() -> None:
    rule = cron.parse("every 90s")
    assert cron.next_tick(rule, 0.0) == 90.0
    assert cron.next_tick(rule, 89.5) == 90.0
    assert cron.next_tick(rule, 90.0) == 180.0
    assert cron.next_tick(cron.parse("every 1s"), 7.25) == 8.0


def test_a_tick_counts_as_missed_after_a_minute() -> None:
    rule = cron.parse("@hourly")
    assert cron.due_ticks(rule, 3600.0, 3660.0, "skip") == ((3600.0,), 7200.0)
    assert cron.due_ticks(rule, 3600.0, 3661.0, "skip") == ((), 7200.0)
    assert cron.due_ticks(rule, 3600.0, 7300.0, "once") == ((7200.0,), 10800.0)
    assert cron.due_ticks(rule, 3600.0, 7300.0, "all") == ((3600.0, 7200.0), 10800.0)
    assert cron.due_ticks(rule, 3600.0, 3599.0, "all") == ((), 3600.0)


def test_only_the_newest_thousand_missed_ticks_run() -> None:
    ticks, _ = cron.due_ticks(cron.parse("every 1s"), 1.0, 5000.5, "all")
    assert ticks == tuple(float(second) for second in range(4001, 5001))


def test_a_rule_may_name_every_minute_hour_day_and_month() -> None:
    fields = [",".join(map(str, range(*each))) for each in ((60,), (24,), (1, 32), (1, 13), (7,))]
    assert cron.next_tick(cron.parse(" ".join(fields)), 1.0) == 60.0


@pytest.mark.parametrize(
    ("text", "zone", "said"),
    [
        ("every 0.5s", "UTC", "too frequent"),
        ("* * *", "UTC", r"write five fields like '30 3 \* \* 1-5'"),
        ("0 0 30 2 *", "UTC", "is not valid"),
        ("@daily", "Mars/Olympus", "unknown time zone 'Mars/Olympus'"),
        ("@daily", "a/" * 2000, "timezone: 4,000 characters are above the limit of 200"),
        ("every " + "9" * 5000, "UTC", "cron: 5,006 characters are above the limit of 500"),
    ],
)
def test_a_wrong_rule_is_refused_with_an_example(text: str, zone: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        cron.parse(text, zone)
