"""What a call does to the holder of its key, where clocks and states are unusual."""

from __future__ import annotations

import pytest

from conveyor.core.conflicts import Alter, Keep, meet
from conveyor.core.job import JobRecord, NewJob, Options, State

NOW = 1000.0


def holder(state: State, run_at: float, **fields: object) -> JobRecord:
    return JobRecord(
        seq=1, id="holder", task="t", queue="q", args=b"{}", state=state, priority=0,
        run_at=run_at, enqueued_at=NOW, **fields,  # type: ignore[arg-type]
    )  # fmt: skip


def call(wish: str, delay: float = 0.0, **options: object) -> NewJob:
    given = Options(key="k", on_conflict=wish, **options)  # type: ignore[arg-type]
    return NewJob(id="call", task="t", queue="q", delay=delay, options=given)


def test_what_joins_never_takes_back_a_job_that_could_start_before_the_clock_was_set_back() -> None:
    available = holder(State.AVAILABLE, NOW + 60)
    assert meet(available, call("join", delay=5), NOW) == Keep()


@pytest.mark.parametrize("wish", ["join", "replace", "postpone"])
def test_a_job_that_cannot_be_read_is_kept(wish: str) -> None:
    assert meet(holder(State.AVAILABLE, NOW, damage="x"), call(wish), NOW) == Keep()


def test_a_limit_that_has_passed_makes_a_postponed_job_start_now() -> None:
    scheduled = holder(State.SCHEDULED, NOW + 50)
    met = meet(scheduled, call("postpone", delay=50, postpone_limit=10.0), NOW + 20)
    assert isinstance(met, Alter)
    assert (met.after.state, met.after.run_at) == (State.AVAILABLE, NOW + 10)


def test_a_postponed_job_can_be_brought_forward() -> None:
    met = meet(holder(State.SCHEDULED, NOW + 50), call("postpone", delay=5), NOW)
    assert isinstance(met, Alter)
    assert (met.after.state, met.after.run_at) == (State.SCHEDULED, NOW + 5)
