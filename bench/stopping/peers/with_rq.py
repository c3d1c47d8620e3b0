"""RQ: a forked work horse per job, Redis."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bodies
from redis import Redis
from rq import Queue, Retry
from rq.command import send_stop_job_command
from rq.job import Job

PACKAGE = "rq"
# The intervals of its check for abandoned jobs, 30 and 600 s by default. An idle worker checks only
# when its wait for a job times out, after its time to live minus 15 s.
WORKER = [
    *(str(Path(sys.executable).with_name("rq")), "worker", "--url", os.environ["REDIS_URL"]),
    *("--with-scheduler", "--job-monitoring-interval", "5", "--maintenance-interval", "10"),
    *("--worker-ttl", "30"),
]
KINDS = {
    **{scene: ["process"] for scene in ("sigterm", "killed", "blocking", "tree")},
    "async": ["coroutine"],
}
GONE = ["stopped", "canceled"]
BODIES = {
    **{f"{b.__name__}_process": b for b in (bodies.long, bodies.parent, bodies.beat, bodies.tree)},
    "beat_coroutine": bodies.abeat,
}

connection = Redis.from_url(os.environ["REDIS_URL"])


def enqueue(task: str, folder: str) -> str:
    """Enqueue a function with three retries and no delay."""
    queue = Queue(connection=connection)
    return str(queue.enqueue(BODIES[task], folder, retry=Retry(max=3), job_timeout=120).id)


def cancel(job: str) -> None:
    """Tell the worker to kill its work horse."""
    send_stop_job_command(connection, job)


def state(job: str) -> str:
    """Return the job's status."""
    return str(Job.fetch(job, connection=connection).get_status().value)
