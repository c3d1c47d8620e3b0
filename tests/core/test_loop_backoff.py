"""Pauses between tries double up to a limit, and begin anew after a success."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.core.loop_backoff import DoublingBackoff, doubled_pause


def test_pauses_double_up_to_the_longest() -> None:
    backoff = DoublingBackoff(0.1, 1.0)
    assert [backoff.next_pause() for _ in range(6)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_a_reset_begins_with_the_first_pause_again() -> None:
    backoff = DoublingBackoff(0.1, 1.0)
    assert backoff.is_first
    backoff.next_pause()
    assert not backoff.is_first
    assert backoff.pause == pytest.approx(0.2)
    backoff.reset()
    assert backoff.is_first
    assert backoff.next_pause() == 0.1


def test_jitter_draws_a_share_of_each_pause() -> None:
    backoff = DoublingBackoff(8.0, 8.0, jitter=0.5)
    drawn = [backoff.next_pause() for _ in range(200)]
    assert all(4.0 <= pause <= 8.0 for pause in drawn)
    assert len(set(drawn)) > 100


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e6), st.integers(1, 10**9))
def test_no_number_of_failures_makes_a_pause_longer_than_the_longest(
    first: float, longest: float, failures: int
) -> None:
    pause = doubled_pause(first, longest, failures)
    assert math.isfinite(pause)
    assert 0 < pause <= longest
    assert doubled_pause(first, longest, failures + 1) >= pause
