"""A job finds nothing on its asyncio task that another job has left there."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from conveyor import Conveyor

JOBS = 5
Leave = Callable[[asyncio.Task[Any]], object]


def run_jobs(leave: Leave, *, suspends: bool) -> list[object]:
    """Run jobs in one slot; return what each found and what it left."""
    belt = Conveyor("memory:")
    found: list[object] = []

    @belt.task
    async def job() -> None:
        if suspends:
            await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        found.append(leave(task))

    for _ in range(JOBS):
        job.enqueue()
    assert belt.work(slots=1, timeout=60) == JOBS
    belt.close()
    return found


@pytest.mark.parametrize("suspends", [False, True])
@pytest.mark.parametrize("kept", [dict, weakref.WeakKeyDictionary])
def test_state_that_is_kept_by_current_task_is_of_one_job(
    kept: Callable[[], Any], *, suspends: bool
) -> None:
    sessions = kept()

    def count(task: asyncio.Task[Any]) -> int:
        sessions[task] = sessions.get(task, 0) + 1
        return int(sessions[task])

    assert run_jobs(count, suspends=suspends) == [1] * JOBS


def test_a_name_of_the_task_is_of_one_job() -> None:
    def rename(task: asyncio.Task[Any]) -> str:
        before = task.get_name()
        task.set_name("mine")
        return before

    assert "mine" not in run_jobs(rename, suspends=True)


@pytest.mark.parametrize("suspends", [False, True])
def test_a_callback_for_the_end_of_the_task_is_called_when_the_job_has_ended(
    *, suspends: bool
) -> None:
    called: list[int] = []

    def add(task: asyncio.Task[Any]) -> int:
        task.add_done_callback(lambda _: called.append(1))
        return len(called)

    assert run_jobs(add, suspends=suspends) == list(range(JOBS))


def test_jobs_that_leave_nothing_share_a_task() -> None:
    assert len(set(run_jobs(lambda task: task.get_name(), suspends=True))) == 1
