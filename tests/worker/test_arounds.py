"""What an application wraps around its jobs, in every kind that runs Python."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import wrapped_jobs

from conveyor import Conveyor, CurrentJob, Job, State, UsageError, current_job

Until = Callable[[Callable[[], object]], None]


@pytest.fixture
def belt() -> Iterator[Conveyor]:
    made = Conveyor("memory:")
    yield made
    made.close()


def run(belt: Conveyor, job: Job[Any]) -> Job[Any]:
    belt.work(timeout=60)
    return job.refresh()


@pytest.mark.parametrize("task", wrapped_jobs.KINDS, ids=lambda task: task.task.name)
def test_every_kind_of_python_job_runs_inside_all_arounds(task: Any) -> None:
    job = run(wrapped_jobs.belt, task.enqueue(fails=False))
    assert job.result(60) == f"outer of {task.task.name}, middle, inner"
    assert job.logs().split("\n")[:2] == ["inner left", "outer left"]


@pytest.mark.parametrize("task", wrapped_jobs.KINDS, ids=lambda task: task.task.name)
def test_the_failure_of_a_job_passes_through_its_arounds(task: Any) -> None:
    job = run(wrapped_jobs.belt, task.enqueue(fails=True))
    assert job.record.error == f"ValueError: outer of {task.task.name}, middle, inner"
    assert job.logs().split("\n")[:2] == ["inner left", "outer left"]


def test_a_command_is_not_wrapped() -> None:
    job = run(wrapped_jobs.belt, wrapped_jobs.belt.command("sh", "-c", "echo $0").enqueue())
    assert (job.state, job.logs()) == (State.COMPLETED, "sh\n")


def test_a_call_that_was_submitted_is_wrapped(belt: Conveyor) -> None:
    seen: list[str] = []

    @belt.around
    def note(job: CurrentJob) -> Iterator[None]:
        seen.append(job.task)
        yield

    assert belt.submit(wrapped_jobs.plain).result(60) == ""
    belt.shutdown()
    assert seen == ["wrapped_jobs.plain"]


def test_a_direct_call_of_the_function_is_not_wrapped() -> None:
    assert wrapped_jobs.as_thread(fails=False) == ""


@pytest.mark.parametrize("kind", ["coroutine", "thread"])
@pytest.mark.parametrize("is_async", [False, True])
def test_an_around_that_fails_before_the_job_fails_its_attempt(
    belt: Conveyor, kind: str, is_async: bool
) -> None:
    def fails(job: CurrentJob) -> Iterator[None]:
        raise OSError("no database")
        yield

    async def fails_later(job: CurrentJob) -> AsyncIterator[None]:
        raise OSError("no database")
        yield

    belt.around(fails_later if is_async else fails)
    ran: list[int] = []
    job = run(belt, job_of(belt, kind, lambda: ran.append(1)))
    assert job.record.error == "OSError: no database"
    assert ran == []


@pytest.mark.parametrize("kind", ["coroutine", "thread"])
@pytest.mark.parametrize("is_async", [False, True])
def test_an_around_that_suppresses_an_exception_makes_the_result_none(
    belt: Conveyor, kind: str, is_async: bool
) -> None:
    def forgives(job: CurrentJob) -> Iterator[None]:
        with suppress(ValueError):
            yield

    async def forgives_later(job: CurrentJob) -> AsyncIterator[None]:
        with suppress(ValueError):
            yield

    def fails() -> None:
        raise ValueError

    belt.around(forgives_later if is_async else forgives)
    job = run(belt, job_of(belt, kind, fails))
    assert (job.state, job.result(60)) == (State.COMPLETED, None)


def test_an_around_that_fails_afterwards_fails_the_attempt(belt: Conveyor) -> None:
    @belt.around
    def fails(job: CurrentJob) -> Iterator[None]:
        yield
        raise OSError("cannot commit")

    job = run(belt, job_of(belt, "thread", int))
    assert job.record.error == "OSError: cannot commit"


def test_an_around_may_be_added_after_the_task(belt: Conveyor) -> None:
    seen: list[int] = []
    enqueued = job_of(belt, "thread", lambda: seen.append(2))

    @belt.around
    def first(job: CurrentJob) -> Iterator[None]:
        seen.append(1)
        yield
        seen.append(3)

    run(belt, enqueued)
    assert seen == [1, 2, 3]


def test_a_job_that_is_cancelled_leaves_its_arounds(belt: Conveyor, until: Until) -> None:
    left = threading.Event()

    @belt.around
    async def cleans(job: CurrentJob) -> AsyncIterator[None]:
        try:
            yield
        finally:
            left.set()

    worker = belt.start()
    job = job_of(belt, "thread", lambda: current_job().sleep(60))
    until(lambda: worker.running)
    assert job.cancel(wait=60)
    belt.stop()
    assert left.is_set()
    assert job.refresh().state is State.CANCELLED


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (3, "needs a function"),
        (lambda: None, "must take one argument"),
        (lambda a, b: None, "must take one argument"),
    ],
)
def test_what_cannot_wrap_a_job_is_refused(belt: Conveyor, wrong: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        belt.around(wrong)


def test_a_coroutine_function_cannot_wrap_a_job(belt: Conveyor) -> None:
    async def no_yield(job: CurrentJob) -> None: ...

    with pytest.raises(UsageError, match="without a yield"):
        belt.around(no_yield)  # type: ignore[type-var]


def test_an_around_that_returns_no_context_manager_fails_the_attempt(belt: Conveyor) -> None:
    def forgets(job: CurrentJob) -> int:
        return 3

    belt.around(forgets)  # type: ignore[type-var]
    job = run(belt, job_of(belt, "thread", int))
    assert "must yield, or return a context manager, got 3" in str(job.record.error)


def test_a_worker_refuses_an_around_that_its_child_processes_cannot_import(belt: Conveyor) -> None:
    @belt.around
    def local(job: CurrentJob) -> Iterator[None]:
        yield

    belt.task(run="thread")(wrapped_jobs.plain)
    belt.worker()
    belt.task(run="process", name="other")(wrapped_jobs.plain)
    with pytest.raises(UsageError, match="top level of a module"):
        belt.worker()


def job_of(belt: Conveyor, kind: str, function: Callable[[], Any]) -> Job[Any]:
    async def later() -> None:
        function()

    def now() -> None:
        function()

    return belt.task(name="t")(later if kind == "coroutine" else now).enqueue()
