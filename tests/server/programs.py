"""What a program does that has its jobs run by agents: it enqueues at the server, and looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from estate import Estate, wait_for

from conveyor import Conveyor, State
from conveyor.client.job_handle import Job


def remote(estate: Estate, url: str = "") -> Conveyor:
    """Return a program's belt that enqueues at a server."""
    return estate.closing(Conveyor(url or estate.url, token=estate.admin))


def command(estate: Estate, *argv: str, **options: Any) -> Job[dict[str, int]]:
    return remote(estate).command(*argv).using(**options).enqueue()


def enqueue(estate: Estate, task: Any, *args: Any, **options: Any) -> Job[Any]:
    """Enqueue a task of some_tasks.py at the server, with nothing but its name and arguments."""
    made = remote(estate)
    there = made.task(name=task.task.name)(task.task.function)
    return there.using(**options).enqueue(*args)


def until_file(go: Path) -> tuple[str, ...]:
    """Return a command that says the pids of its shell and of a child, and waits for a file."""
    script = 'sleep 300 & echo "going $$ $!"; until [ -e "$1" ]; do sleep 0.05; done; echo done'
    return "sh", "-c", script, "sh", str(go)


def says(job: Job[Any], text: str) -> None:
    wait_for(lambda: text in job.logs())


def pids(job: Job[Any]) -> list[int]:
    """Return the pids that `until_file` has said last."""
    says(job, "going")
    line = [line for line in job.logs().splitlines() if line.startswith("going")][-1]
    return [int(word) for word in line.split()[1:]]


def runs(job: Job[Any], lease: int = 1, worker: str = "") -> bool:
    """Whether a job runs under its n-th lease, on that worker if one is named."""
    record = job.refresh().record
    there = worker in ("", record.worker)
    return record.state is State.RUNNING and record.lease == lease and there
