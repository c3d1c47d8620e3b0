"""The job state machine as a table, and what holds for all of it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import job

from conveyor.core import lifecycle
from conveyor.core.job import FINAL, WAITING, ErrorInfo, State
from conveyor.core.lifecycle import (
    Cancelled,
    Crashed,
    Failed,
    Interrupted,
    Outcome,
    Snoozed,
    Succeeded,
    settle,
)
from conveyor.errors import InvalidTransitionError

BROKEN = ErrorInfo("ValueError", "broken", "", ("Exception",))


OUTCOMES: list[Outcome] = [
    Succeeded(b"1"),
    Failed(BROKEN),
    Failed(BROKEN, retry=False),
    Crashed(BROKEN),
    Snoozed(60),
    Cancelled("enough"),
    Interrupted(),
]


@pytest.mark.parametrize(
    ("outcome", "given", "state"),
    [
        (Succeeded(b"1"), {}, State.COMPLETED),
        (Succeeded(b"1"), {"cancel_requested_at": 1.0}, State.COMPLETED),
        (Failed(BROKEN), {}, State.DISCARDED),
        (Failed(BROKEN), {"retries": 1}, State.RETRYABLE),
        (Failed(BROKEN), {"retries": 1, "attempt": 2}, State.DISCARDED),
        (Failed(BROKEN, retry=False), {"retries": 9}, State.DISCARDED),
        (Failed(BROKEN), {"retries": 1, "retry_on": ("ValueError",)}, State.RETRYABLE),
        (Failed(BROKEN), {"retries": 1, "retry_on": ("Exception",)}, State.RETRYABLE),
        (Failed(BROKEN), {"retries": 1, "retry_on": ("OSError",)}, State.DISCARDED),
        (Failed(BROKEN), {"retries": 9, "cancel_requested_at": 1.0}, State.CANCELLED),
        (Crashed(BROKEN), {}, State.AVAILABLE),
        (Crashed(BROKEN), {"crashes": 2}, State.DISCARDED),
        (Crashed(BROKEN), {"cancel_requested_at": 1.0}, State.CANCELLED),
        (Snoozed(60), {}, State.SCHEDULED),
        (Snoozed(60), {"cancel_requested_at": 1.0}, State.CANCELLED),
        (Interrupted(), {}, State.AVAILABLE),
        (Interrupted(), {"cancel_requested_at": 1.0}, State.CANCELLED),
        (Cancelled("enough"), {"cancel_requested_at": 1.0}, State.CANCELLED),
    ],
)
def test_every_outcome_has_its_place_in_the_table(
    outcome: Outcome, given: dict[str, Any], state: State
) -> None:
    assert settle(job(**given), outcome).state is state


@pytest.mark.parametrize(
    ("state", "outcome"), list(itertools.product(sorted(set(State) - {State.RUNNING}), OUTCOMES))
)
def test_only_a_running_job_can_be_settled(state: State, outcome: Outcome) -> None:
    with pytest.raises(InvalidTransitionError, match="job-1"):
        settle(job(state=state), outcome)


@given(st.sampled_from(OUTCOMES), st.integers(0, 5), st.integers(1, 9), st.booleans())
def test_a_cancel_that_was_asked_for_is_never_forgotten_by_going_on(
    outcome: Outcome, retries: int, attempt: int, asked: bool
) -> None:
    at = 5.0 if asked else None
    move = settle(job(retries=retries, attempt=attempt, cancel_requested_at=at), outcome)
    if asked:
        assert move.state in (State.CANCELLED, State.COMPLETED)
    assert move.state is not State.RUNNING


@pytest.mark.parametrize("state", State)
def test_what_a_cancel_and_a_retry_do_depends_on_the_state_alone(state: State) -> None:
    if state in WAITING:
        assert lifecycle.cancel(job(state=state)) is State.CANCELLED
    elif state is State.RUNNING:
        assert lifecycle.cancel(job(state=state)) is None
    else:
        with pytest.raises(InvalidTransitionError, match="ended before"):
            lifecycle.cancel(job(state=state))
    if state in FINAL or state in (State.RETRYABLE, State.SCHEDULED):
        assert lifecycle.retry(job(state=state)) is State.AVAILABLE
    else:
        with pytest.raises(InvalidTransitionError):
            lifecycle.retry(job(state=state))


def test_a_rescue_picks_the_jobs_of_dead_workers_then_the_oldest_lapsed_leases() -> None:
    running = [
        job(id="lapsed", worker="x", lease_until=99.0),
        job(id="held", worker="x", lease_until=100.0),
        job(id="of b", worker="b", lease_until=200.0),
        job(id="lapsed first", worker="y", lease_until=98.0),
        job(id="of a", worker="a", lease_until=97.0),
    ]
    picked = lifecycle.pick_lost(running, dead=["a", "b"], now=100.0, limit=9)
    assert [each.id for each in picked] == ["of a", "of b", "lapsed first", "lapsed"]
    assert lifecycle.pick_lost(running, dead=["a", "b"], now=100.0, limit=3) == picked[:3]
