"""Enqueues jobs at a server and observes them, as a program with remote workers does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deployment import Deployment, wait_for

from conveyor import Conveyor, State
from conveyor.client.job_handle import Job


def remote(deployment: Deployment, url: str = "") -> Conveyor:
    """Return a Conveyor that uses the server."""
    return deployment.closing(Conveyor(url or deployment.url, token=deployment.admin))


def command(deployment: Deployment, *argv: str, **options: Any) -> Job[dict[str, int]]:
    return remote(deployment).command(*argv).using(**options).enqueue()


def enqueue(deployment: Deployment, task: Any, *args: Any, **options: Any) -> Job[Any]:
    """Enqueue a task of agent_tasks.py, by its name and arguments."""
    made = remote(deployment)
    there = made.task(name=task.task.name)(task.task.function)
    return there.using(**options).enqueue(*args)


def run_until_file(go: Path) -> tuple[str, ...]:
    """Return a command that prints the pids of its shell and of a child, and waits for a file."""
    script = 'sleep 300 & echo "going $$ $!"; until [ -e "$1" ]; do sleep 0.05; done; echo done'
    return "sh", "-c", script, "sh", str(go)


def wait_for_output(job: Job[Any], text: str) -> None:
    wait_for(lambda: text in job.logs())


def pids(job: Job[Any]) -> list[int]:
    """Return the pids that `run_until_file` has printed last."""
    wait_for_output(job, "going")
    line = [line for line in job.logs().splitlines() if line.startswith("going")][-1]
    return [int(word) for word in line.split()[1:]]


def runs(job: Job[Any], lease: int = 1, worker: str = "") -> bool:
    """Whether a job runs under its n-th lease, on that worker if one is named."""
    record = job.refresh().record
    there = worker in ("", record.worker)
    return record.state is State.RUNNING and record.lease == lease and there
