"""The totals of a queue: counts, and what they show no more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.core.job import FINAL, WAITING, QueueTotals, State
from conveyor.core.queue_totals import corrected, leaving, totals

COUNTS = st.dictionaries(st.sampled_from(State), st.integers(0, 5))


@pytest.mark.parametrize("state", sorted(FINAL))
def test_a_job_that_leaves_its_final_state_is_counted_there(state: State) -> None:
    assert leaving(state, deleted=False) == (state.value,)
    assert leaving(state, deleted=True) == (state.value, "deleted")


@pytest.mark.parametrize("state", sorted(WAITING))
def test_a_job_that_waits_has_ended_nowhere(state: State) -> None:
    assert leaving(state, deleted=False) == ()


@given(COUNTS, COUNTS)
def test_no_total_goes_back_when_counts_are_corrected(
    before: dict[State, int], after: dict[State, int]
) -> None:
    old = totals(before, {})
    new = totals(after, corrected(before, after))
    for name in QueueTotals.__struct_fields__:
        assert getattr(new, name) >= getattr(old, name)


def test_counts_that_are_corrected_upwards_leave_nothing_behind() -> None:
    assert corrected({}, {State.COMPLETED: 3, State.AVAILABLE: 1}) == {}
