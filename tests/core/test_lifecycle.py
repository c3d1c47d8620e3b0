"""The job state machine as a table, and what holds for all of it."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import job

from conveyor.core import lifecycle
from conveyor.core.job import ERROR_LINE, FINAL, WAITING, ErrorInfo, NewJob, State
from conveyor.core.lifecycle import (
    Cancelled,
    Crashed,
    Failed,
    Interrupted,
    LeaseTerms,
    Outcome,
    Snoozed,
    Succeeded,
    Transition,
    Unsupported,
    settle,
)
from conveyor.core.retry import Fixed
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
    Unsupported(BROKEN),
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
        (Unsupported(BROKEN), {}, State.RETRYABLE),
        (Unsupported(BROKEN), {"unsupported_since": 1.0, "started_at": 86_400.0}, State.RETRYABLE),
        (Unsupported(BROKEN), {"unsupported_since": 1.0, "started_at": 86_401.0}, State.DISCARDED),
        (Unsupported(BROKEN), {"cancel_requested_at": 1.0}, State.CANCELLED),
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


def test_a_job_that_no_code_supports_is_tried_less_and_less_often_and_at_last_discarded() -> None:
    waiting, now, delays = job(attempt=1, started_at=0.0), 0.0, []
    while not waiting.is_final:
        move = settle(waiting, Unsupported(BROKEN))
        waiting = lifecycle.apply(waiting, move, now)
        assert waiting.attempt == 0
        if move.delay is not None:
            delays.append(move.delay)
            now += move.delay
            waiting = msgspec.structs.replace(
                waiting, state=State.RUNNING, attempt=1, started_at=now
            )
    assert delays[:2] == [1.0, 1.0]
    assert delays == sorted(delays)
    assert (delays[-1], len(delays)) == (300.0, pytest.approx(300, abs=10))
    assert 86_400 <= now <= 86_700
    assert waiting.state is State.DISCARDED
    assert "no worker could run it for 24 h" in str(waiting.error)


def test_what_a_worker_s_code_could_run_counts_anew_when_other_code_cannot() -> None:
    waiting = job(attempt=1, retries=9, started_at=50.0, unsupported_since=1.0)
    for ran in (Failed(BROKEN), Snoozed(1.0)):
        assert lifecycle.apply(waiting, settle(waiting, ran), 60.0).unsupported_since is None
    for not_run in (Interrupted(), Crashed(BROKEN)):
        assert lifecycle.apply(waiting, settle(waiting, not_run), 60.0).unsupported_since == 1.0


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


def test_a_rescue_picks_the_jobs_of_dead_workers_or_else_the_oldest_lapsed_leases() -> None:
    running = [
        job(id="lapsed", worker="x", lease_until=99.0),
        job(id="held", worker="x", lease_until=100.0),
        job(id="of b", worker="b", lease_until=200.0),
        job(id="lapsed first", worker="y", lease_until=98.0),
        job(id="of a", worker="a", lease_until=97.0),
    ]
    cases = ((["a", "b"], ["of a", "of b"]), ([], ["of a", "lapsed first", "lapsed"]))
    for dead, expected in cases:
        picked = lifecycle.pick_lost(running, dead=dead, now=100.0, limit=9)
        assert [each.id for each in picked] == expected
        assert lifecycle.pick_lost(running, dead=dead, now=100.0, limit=1) == picked[:1]


CANCELLED = ErrorInfo("Cancelled", "stopped on request")


@pytest.mark.parametrize(
    ("outcome", "given", "transition"),
    [
        (Succeeded(b"1"), {}, Transition(State.COMPLETED, result=b"1")),
        (
            Cancelled("enough"),
            {},
            Transition(State.CANCELLED, error=ErrorInfo("Cancelled", "enough")),
        ),
        (Failed(BROKEN), {"cancel_requested_at": 1.0}, Transition(State.CANCELLED, error=BROKEN)),
        (Crashed(BROKEN), {"cancel_requested_at": 1.0}, Transition(State.CANCELLED, error=BROKEN)),
        (Snoozed(60), {"cancel_requested_at": 1.0}, Transition(State.CANCELLED, error=CANCELLED)),
        (Interrupted(), {"cancel_requested_at": 1.0}, Transition(State.CANCELLED, error=CANCELLED)),
        (
            Snoozed(60),
            {},
            Transition(State.SCHEDULED, delay=60, refund_attempt=True, unsupported=False),
        ),
        (
            Unsupported(BROKEN),
            {},
            Transition(
                State.RETRYABLE, delay=1.0, refund_attempt=True, error=BROKEN, unsupported=True
            ),
        ),
        (Interrupted(), {}, Transition(State.AVAILABLE, refund_attempt=True)),
        (
            Crashed(BROKEN),
            {"crash_limit": 2},
            Transition(State.AVAILABLE, refund_attempt=True, crashed=True, error=BROKEN),
        ),
        (
            Crashed(BROKEN),
            {"crash_limit": 2, "crashes": 1},
            Transition(State.DISCARDED, crashed=True, error=BROKEN),
        ),
        (Failed(BROKEN, retry=False), {"retries": 9}, Transition(State.DISCARDED, error=BROKEN)),
        (
            Failed(BROKEN),
            {"retries": 1, "backoff": Fixed(7.0)},
            Transition(State.RETRYABLE, delay=7.0, error=BROKEN, unsupported=False),
        ),
    ],
)
def test_a_transition_says_why_and_what_it_costs(
    outcome: Outcome, given: dict[str, Any], transition: Transition
) -> None:
    assert settle(job(**given), outcome) == transition


def test_a_failure_that_retry_on_does_not_list_names_what_it_lists() -> None:
    move = settle(job(retries=1, retry_on=("OSError", "KeyError")), Failed(BROKEN))
    assert str(move.error) == (
        "ValueError: broken (not retried, because retry_on lists only OSError, KeyError)"
    )


@pytest.mark.parametrize("state", sorted(FINAL))
def test_a_final_job_keeps_its_worker_and_the_time_of_its_end(state: State) -> None:
    running = job(worker="w", lease_until=160.0, error="old", run_at=90.0, attempt=3, crashes=1)
    done = lifecycle.apply(running, Transition(state, error=BROKEN, result=b"2"), 120.0)
    assert (done.state, done.worker, done.final_at, done.lease_until) == (state, "w", 120.0, None)
    assert (done.error, done.result, done.run_at) == ("ValueError: broken", b"2", 90.0)
    assert (done.attempt, done.crashes, done.lease) == (3, 1, running.lease)


def test_a_job_that_goes_on_has_no_worker_and_keeps_its_last_error() -> None:
    running = job(worker="w", lease_until=160.0, error="old", run_at=90.0, attempt=3)
    move = Transition(State.AVAILABLE, refund_attempt=True, crashed=True)
    back = lifecycle.apply(running, move, 120.0)
    assert (back.worker, back.final_at, back.lease_until, back.error) == (None, None, None, "old")
    assert (back.attempt, back.crashes, back.run_at, back.result) == (2, 1, 90.0, None)
    assert lifecycle.apply(running, Transition(State.SCHEDULED, delay=5.0), 120.0).run_at == 125.0


def test_the_error_on_a_job_is_one_short_line() -> None:
    long = Transition(State.DISCARDED, error=ErrorInfo("ValueError", "x" * 10_000))
    error = lifecycle.apply(job(), long, 120.0).error or ""
    assert len(error) == ERROR_LINE
    assert error.startswith("ValueError: xxx")


def test_a_claim_starts_the_next_attempt_under_the_next_lease() -> None:
    waiting = job(state=State.AVAILABLE, attempt=2, lease=5, stopping=("asked",))
    claimed = lifecycle.claim(waiting, LeaseTerms("w", until=160.0, started_at=100.0))
    assert (claimed.state, claimed.attempt, claimed.lease) == (State.RUNNING, 3, 6)
    assert (claimed.worker, claimed.lease_until, claimed.started_at) == ("w", 160.0, 100.0)
    assert claimed.stopping == ()


def test_a_new_job_is_due_now_or_at_its_time() -> None:
    def first(**given: Any) -> tuple[State, float]:
        return lifecycle.first_state(NewJob(id="a", task="t", **given), 100.0)

    assert first() == (State.AVAILABLE, 100.0)
    assert first(delay=5.0) == (State.SCHEDULED, 105.0)
    assert first(run_at=100.0, delay=5.0) == (State.AVAILABLE, 100.0)
    assert first(run_at=101.0) == (State.SCHEDULED, 101.0)


def test_a_job_expires_at_its_time_and_without_one_never() -> None:
    assert not lifecycle.has_expired(job(), 1e12)
    assert not lifecycle.has_expired(job(expires_at=200.0), 199.0)
    assert lifecycle.has_expired(job(expires_at=200.0), 200.0)


def test_a_lost_job_that_had_not_started_is_only_returned() -> None:
    def outcome(begun: set[str] | None = None, evidence: str = "", **given: Any) -> Outcome:
        lost = job(**({"worker": "w", "started_at": 100.0} | given))
        return lifecycle.lost_job_outcome(lost, dead=["w"], begun=begun, evidence=evidence)

    assert outcome(started_at=None) == Interrupted()
    assert outcome(begun=set()) == Interrupted()
    assert outcome(begun={"job-1"}) == outcome() == Crashed(lifecycle.WORKER_DIED)
    assert outcome(begun=set(), worker="other") == Crashed(lifecycle.LEASE_ENDED)
    died = outcome(evidence="SIGKILL")
    assert isinstance(died, Crashed)
    assert str(died.error) == "WorkerLost: the worker's process died: SIGKILL"


def test_a_manual_retry_begins_anew() -> None:
    done = job(
        state=State.CANCELLED, attempt=4, crashes=2, final_at=90.0, result=b"1", stopping=("x",),
        cancel_requested_at=80.0, cancel_forced=True, error="why",
    )  # fmt: skip
    new = lifecycle.renew(done, 120.0)
    assert (new.state, new.attempt, new.crashes, new.run_at) == (State.AVAILABLE, 0, 0, 120.0)
    assert (new.final_at, new.result, new.stopping, new.cancel_forced) == (None, None, (), False)
    assert (new.cancel_requested_at, new.error, new.lease) == (None, "why", done.lease)


@pytest.mark.parametrize("state", State)
def test_only_a_final_job_can_be_deleted(state: State) -> None:
    if state in FINAL:
        lifecycle.check_deletable(job(state=state))
        return
    with pytest.raises(InvalidTransitionError, match=f"job-1 is {state}: only a final job"):
        lifecycle.check_deletable(job(state=state))


def test_a_snooze_for_no_time_at_all_fails_the_attempt() -> None:
    assert settle(job(), Snoozed(-5.0)).delay == 0.0
    assert settle(job(), Snoozed(float("nan"))).state is State.DISCARDED


@pytest.mark.parametrize(
    ("outcome", "state"), [(Cancelled("enough"), State.CANCELLED), (Interrupted(), State.DISCARDED)]
)
def test_a_job_that_is_damaged_while_it_runs_can_only_end(outcome: Outcome, state: State) -> None:
    assert settle(job(damage="its options cannot be read"), outcome).state is state
