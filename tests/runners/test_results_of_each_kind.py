"""Results and errors, the same whether a job is a coroutine, a thread or a process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import job_functions
import pytest
from runner_helpers import call, run_jobs

from conveyor.core.lifecycle import Failed
from conveyor.core.task import Kind
from conveyor.runners.coroutine import CoroutineRunner
from conveyor.runners.job_control import Runner, RunResult
from conveyor.runners.process import ProcessRunner
from conveyor.runners.thread import ThreadRunner

RUNNERS: dict[Kind, Callable[[], Runner]] = {
    "coroutine": CoroutineRunner,
    "thread": lambda: ThreadRunner(1),
    "process": lambda: ProcessRunner(1),
}
every_kind = pytest.mark.parametrize("kind", RUNNERS)


def ended(kind: Kind, function: Callable[..., Any], *args: Any, **options: Any) -> RunResult:
    if kind == "coroutine":
        function = getattr(job_functions, f"{function.__name__}_async")
    [run_result] = run_jobs(RUNNERS[kind], call(function, *args, run=kind, **options))
    return run_result


@every_kind
def test_an_error_has_the_name_of_its_class_that_retry_on_lists(kind: Kind) -> None:
    # No name of the class itself, but a way to import it.
    failed = ended(kind, job_functions.time_out, retry_on=("asyncio.TimeoutError",))
    assert isinstance(failed, Failed)
    assert failed.error.type == "TimeoutError"
    assert "asyncio.TimeoutError" in failed.error.bases


@every_kind
@pytest.mark.parametrize(("result", "what"), [("nope", "a str"), (None, "None")])
def test_a_result_that_does_not_match_its_annotation_fails_the_job(
    kind: Kind, result: str | None, what: str
) -> None:
    failed = ended(kind, job_functions.count, result, retries=3)
    assert isinstance(failed, Failed)
    assert failed.error.type == "conveyor.errors.EncodingError"
    assert f"is {what}, which does not match its annotation `int`: Expected" in failed.error.message
    assert "result of job_functions.count" in failed.error.message
    assert not failed.retry  # its work is done: doing it again would bring the same result


@every_kind
def test_an_exception_whose_class_cannot_be_asked_for_fails_the_job_by_its_name(kind: Kind) -> None:
    failed = None
    with suppress(BaseException):  # pytest itself would ask for it
        failed = ended(kind, job_functions.lie)
    assert isinstance(failed, Failed)
    assert (failed.error.type, failed.retry) == ("job_functions.LyingError", True)
