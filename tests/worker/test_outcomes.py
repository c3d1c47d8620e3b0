"""What the ending of a job's code means, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from conveyor.core.job import ErrorInfo, JobRecord, OnShutdown, State
from conveyor.core.lifecycle import Cancelled, Crashed, Failed, Interrupted, Succeeded
from conveyor.runners.job_control import StopCause, Stopped, StopRequest
from conveyor.worker.outcomes import outcome_of, unknown_task

DONE = Succeeded(b"1")
LOST = Crashed(ErrorInfo("WorkerLost", "frozen"))
RAISED = Failed(ErrorInfo("ValueError", "no"))


@pytest.mark.parametrize("why", ["cancel", "timeout", "shutdown"])
def test_code_that_ends_before_its_stop_takes_effect_counts_as_finished(why: StopCause) -> None:
    assert outcome_of(DONE, StopRequest(why, "r"), "release") is DONE


@pytest.mark.parametrize("ending", [DONE, RAISED, LOST, Stopped()])
def test_nothing_is_reported_of_a_job_whose_lease_is_lost(ending: Any) -> None:
    assert outcome_of(ending, StopRequest("lost", "r"), "release") is None


@pytest.mark.parametrize(
    ("why", "on_shutdown", "kind"),
    [
        ("cancel", "release", Cancelled),
        ("timeout", "release", Failed),
        ("shutdown", "release", Interrupted),
        ("shutdown", "cancel", Cancelled),
    ],
)
@pytest.mark.parametrize("ending", [RAISED, LOST, Stopped(("SIGTERM",))])
def test_the_stop_request_decides_the_outcome_of_a_stopped_job(
    why: StopCause, on_shutdown: OnShutdown, kind: type, ending: Any
) -> None:
    assert isinstance(outcome_of(ending, StopRequest(why, "r"), on_shutdown), kind)


def test_the_error_of_a_timeout_says_how_the_job_was_stopped() -> None:
    outcome = outcome_of(
        Stopped(("SIGTERM at 1 s",)), StopRequest("timeout", "too long"), "release"
    )
    assert outcome == Failed(ErrorInfo("Timeout", "too long (SIGTERM at 1 s)"))


def test_without_a_stop_request_the_ending_decides_the_outcome() -> None:
    assert outcome_of(RAISED, None, "release") is RAISED
    assert outcome_of(LOST, None, "release") is LOST


def test_an_unknown_task_is_named_with_the_remedy() -> None:
    job = JobRecord(
        seq=1, id="j", task="shop.mail", queue="q", args=b"{}", state=State.RUNNING,
        priority=0, run_at=0, enqueued_at=0,
    )  # fmt: skip
    message = unknown_task(job, "shop:belt").error.message
    assert "'shop.mail'" in message
    assert "shop:belt" in message
    assert "deploy the code that has it" in message
