"""The first and last moment that are accepted can be shown; others are shown as numbers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from records import job

from conveyor.core.bounds import EARLIEST, LATEST, checked_integer, checked_meta, format_moment
from conveyor.core.explain import explain
from conveyor.core.job import QueueInfo, State
from conveyor.errors import UsageError


@pytest.fixture(params=["UTC", "Pacific/Kiritimati", "Pacific/Midway"])
def _zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_zone")
def test_the_first_and_the_last_moment_are_dates_in_every_time_zone() -> None:
    assert format_moment(EARLIEST)[:4] in ("1969", "1970")
    assert format_moment(LATEST).startswith("9999-12-")


@pytest.mark.parametrize("at", [1e300, -1e300, float("inf"), float("nan"), 253402300800.0])
def test_a_moment_that_no_calendar_has_is_shown_as_a_number(at: float) -> None:
    assert format_moment(at) == f"{at:g} Unix seconds"
    queue = QueueInfo(name="q", capacity=None, paused=False, counts={})
    for state in State:
        far = job(state=state, run_at=at, started_at=at, final_at=at, cancel_requested_at=at)
        assert explain(far, queue=queue, ahead=0, workers=[], now=100.0).endswith(".")


def test_an_integer_lies_within_its_bounds() -> None:
    assert [checked_integer(each, least=-1, most=1) for each in (-1, 0, 1)] == [-1, 0, 1]
    assert checked_integer(10**30) == 10**30
    for wrong in (-2, 2, True, 1.0, "1", None):
        with pytest.raises(UsageError, match=f"an integer from -1 to 1, got {wrong!r}"):
            checked_integer(wrong, least=-1, most=1)
    with pytest.raises(UsageError, match="an integer of 3 or more, got 2"):
        checked_integer(2, least=3)
    with pytest.raises(UsageError, match=r"got 'x{78}…$"):
        checked_integer("x" * 79)
    with pytest.raises(UsageError, match=r"got 'x{78}'$"):
        checked_integer("x" * 78)
    with pytest.raises(UsageError, match=r"got a int$"):  # Python prints no number of that length
        checked_integer(10**5000, most=1)


def test_meta_that_json_changes_is_named_by_its_key() -> None:
    assert checked_meta({"a": [1, None, {"b": "c"}]}) == {"a": [1, None, {"b": "c"}]}
    with pytest.raises(UsageError, match=r"meta\['b'\] .*: \(1, 2\) would become \[1, 2\]"):
        checked_meta({"a": 1, "b": (1, 2)})
    with pytest.raises(UsageError, match=r"meta\[1\] cannot be stored"):
        checked_meta({1: None})  # type: ignore[dict-item]
    nested: list[Any] = []
    for _ in range(10_000):
        nested = [nested]
    with pytest.raises(UsageError, match="meta must be plain JSON"):
        checked_meta({"a": nested})
