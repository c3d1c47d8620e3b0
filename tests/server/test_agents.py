"""Jobs on other machines: real servers and agents as processes, and what may happen to them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from estate import Estate, wait_for
from some_tasks import add, nap, spin, watchful

from conveyor import Conveyor, JobCancelledError
from conveyor.handle import Job

# So short that the end of a lease is not waited for long.
SHORT = ("--lease", "4")


def remote(estate: Estate) -> Conveyor:
    """Return a program's belt that enqueues at the server."""
    return estate.closing(Conveyor(estate.url, token=estate.admin))


def command(estate: Estate, *argv: str, **options: Any) -> Job[dict[str, int]]:
    return remote(estate).command(*argv).using(**options).enqueue()


def enqueue(estate: Estate, task: Any, *args: Any, **options: Any) -> Job[Any]:
    """Enqueue a task of some_tasks.py at the server, with nothing but its name and arguments."""
    made = remote(estate)
    there = made.task(name=task.task.name)(task.task.function)
    return there.using(**options).enqueue(*args)


def says(job: Job[Any], text: str) -> None:
    wait_for(lambda: text in job.logs())


def test_an_agent_without_the_database_runs_commands_and_functions(estate: Estate) -> None:
    estate.server()
    estate.agent("--app", "some_tasks:belt", "-c", "2")
    done = command(estate, "sh", "-c", "echo out; echo err >&2; exit 0")
    assert done.result(20) == {"exit_code": 0}
    assert sorted(done.logs().split()) == ["err", "out"]
    assert enqueue(estate, add, 2, 3).result(20) == 5


@pytest.mark.parametrize("task", [nap, spin, watchful, None])
def test_a_running_job_is_cancelled_from_elsewhere_within_a_second(
    estate: Estate, task: Any
) -> None:
    estate.server()
    estate.agent("--app", "some_tasks:belt")
    if task is None:
        job: Job[Any] = command(estate, "sh", "-c", "echo going; sleep 60 & sleep 60")
    else:
        job = enqueue(estate, task, 60.0)
    says(job, "ing")
    began = time.monotonic()
    assert job.cancel(wait=10)
    assert time.monotonic() - began < 5  # what it takes is measured in bench/, not here
    with pytest.raises(JobCancelledError):
        job.result(1)
