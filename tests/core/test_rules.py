"""The pure rules, as tables and properties: retry, lifecycle, capacity, cron, durations, why."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.core import cron, lifecycle
from conveyor.core.capacity import Accept, Offer, Refuse, admit, room
from conveyor.core.duration import duration
from conveyor.core.explain import explain, explain_offer
from conveyor.core.job import (
    FINAL,
    WAITING,
    ErrorInfo,
    JobRecord,
    Options,
    QueueInfo,
    State,
    WorkerInfo,
)
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
from conveyor.core.retry import LONGEST_DELAY, Exponential, Fixed, Steps, backoff, pause
from conveyor.errors import InvalidTransitionError, UsageError

BROKEN = ErrorInfo("ValueError", "broken", "", ("Exception",))


def job(**given: Any) -> JobRecord:
    options = {name: given.pop(name) for name in list(given) if name in Options.__struct_fields__}
    fields = {
        "seq": 1, "id": "job-1", "task": "t", "queue": "q", "args": b"{}", "state": State.RUNNING,
        "priority": 0, "run_at": 100.0, "enqueued_at": 100.0, "attempt": 1, "lease": 1,
    }  # fmt: skip
    return JobRecord(**(fields | given), options=Options(**options))  # type: ignore[arg-type]


# -- retry -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "pauses"),
    [
        (Fixed(5), [5, 5, 5]),
        (Steps((1, 10)), [1, 10, 10]),
        (Exponential(2, factor=3, jitter=0), [2, 6, 18]),
        (Exponential(100, longest=250, jitter=0), [100, 200, 250]),
    ],
)
def test_pauses_follow_the_rule(rule: Any, pauses: list[float]) -> None:
    assert [pause(rule, attempt) for attempt in (1, 2, 3)] == pauses


rules = st.one_of(
    st.builds(Fixed, st.floats(0, 1e12)),
    st.builds(Steps, st.lists(st.floats(0, 1e12), min_size=1).map(tuple)),
    st.builds(
        Exponential, st.floats(0, 1e9), st.floats(1, 1000), st.floats(0, 1e12), st.floats(0, 1)
    ),
)


@given(rules, st.integers(1, 10_000), st.floats(0, 1))
def test_no_pause_is_negative_or_longer_than_the_longest(
    rule: Any, attempt: int, drawn: float
) -> None:
    assert 0 <= pause(backoff(rule), attempt, lambda: drawn) <= LONGEST_DELAY


@pytest.mark.parametrize("wrong", [True, "soon", [], [-1], ["x"], Fixed(-1), Exponential(jitter=2)])
def test_a_backoff_that_cannot_be_meant_is_refused(wrong: object) -> None:
    with pytest.raises(UsageError, match="backoff"):
        backoff(wrong)


# -- lifecycle -------------------------------------------------------------------------------------

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


# -- capacity --------------------------------------------------------------------------------------


@given(
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(0, 3),
    st.integers(0, 9),
    st.sampled_from(["wait", "refuse", "drop_oldest"]),
)
def test_nothing_is_accepted_beyond_the_bound(
    size: int, depth: int, available: int, offers: int, capacity: int, when_full: Any
) -> None:
    available = min(available, depth)
    decision = admit(
        size=size, depth=depth, available=available, offers=offers, capacity=capacity,
        when_full=when_full,
    )  # fmt: skip
    match decision:
        case Accept(drop):
            assert size == 0 or depth - drop + size <= capacity
            assert drop <= available
        case Offer():
            assert when_full == "wait" or capacity == 0
            assert size <= max(capacity, 1)
        case Refuse():
            assert size > 0


def test_room_is_what_is_left_and_unbounded_without_a_bound() -> None:
    assert room(depth=3, capacity=5) == 2
    assert room(depth=7, capacity=5) == 0
    assert room(depth=0, capacity=0) == 0
    assert room(depth=10**9, capacity=None) > 10**9


# -- cron ------------------------------------------------------------------------------------------

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
    assert len(ticks) <= (cron.MOST if missed == "all" else 1)
    if missed != "skip":
        assert ticks


# -- durations -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), (1.5, 1.5), ("5m", 300), ("1h30m", 5400), ("2d", 172800), ("250ms", 0.25)],
)
def test_a_duration_is_read_as_people_write_it(text: Any, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("wrong", ["", "soon", "5 parsecs", "m5", "nan", "inf", True, None])
def test_a_duration_that_cannot_be_meant_is_refused_with_an_example(wrong: Any) -> None:
    with pytest.raises(UsageError, match="duration"):
        duration(wrong)


# -- why -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State)
def test_there_is_a_sentence_for_every_state(state: State) -> None:
    queue = QueueInfo(name="q", capacity=None, paused=False, counts={})
    said = explain(
        job(state=state, error="why", worker="w-1"), queue=queue, ahead=0, workers=[], now=200.0
    )
    assert said.endswith(".")
    assert "None" not in said


def test_why_names_the_room_that_is_waited_for() -> None:
    full = QueueInfo(name="q", capacity=2, paused=False, counts={State.AVAILABLE: 2}, offers=3)
    assert "holds 2 of 2 waiting jobs, and 3 producer(s)" in explain_offer(full)
    meeting = QueueInfo(name="q", capacity=0, paused=False, counts={}, offers=1)
    assert "capacity 0" in explain_offer(meeting)


def test_a_silent_or_draining_worker_does_not_count() -> None:
    def worker(**given: Any) -> WorkerInfo:
        return WorkerInfo(
            id="w", host="h", boot_id="b", pid=1, pid_started=0.0, started_at=0.0, slots=1,
            queues=("q",), **given,
        )  # fmt: skip

    queue = QueueInfo(name="q", capacity=None, paused=False, counts={})
    waiting = job(state=State.AVAILABLE)
    for useless in (worker(beat_at=100.0), worker(beat_at=199.0, draining=True)):
        said = explain(waiting, queue=queue, ahead=0, workers=[useless], now=200.0)
        assert "No worker serves queue 'q'" in said
