"""Procrastinate: coroutines, blocking functions in threads, PostgreSQL."""

from __future__ import annotations

import functools
import os
import sys

import bodies
import procrastinate
from procrastinate import JobContext

PACKAGE = "procrastinate"
WORKER = [
    *(sys.executable, "-m", "procrastinate", "--app", "with_procrastinate.app", "worker"),
    *("--concurrency", "1", "--shutdown-graceful-timeout", os.environ["DRAIN"]),
]
KINDS = {
    **{scene: ["coroutine", "thread"] for scene in ("sigterm", "killed")},
    "async": ["coroutine"],
    "blocking": ["thread"],
    "tree": ["coroutine"],
}
GONE = ["cancelled", "aborted"]

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["PG_URL"]))
TASKS = {
    # With retries, interrupted jobs run again as documented, but an aborted job is "failed".
    name: app.task(name=name, retry=0 if name.startswith(("beat", "tree")) else 3)(body)
    for name, body in {
        "long_coroutine": bodies.along,
        "parent_coroutine": bodies.aparent,
        "beat_coroutine": bodies.abeat,
        "tree_coroutine": bodies.atree,
        "long_thread": bodies.long,
        "parent_thread": bodies.parent,
        "beat_thread": bodies.beat,
    }.items()
}
sync = procrastinate.App(
    connector=procrastinate.SyncPsycopgConnector(conninfo=os.environ["PG_URL"])
)


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="retry_stalled_jobs", pass_context=True)
async def retry_stalled_jobs(_context: JobContext, timestamp: int) -> None:  # noqa: ARG001
    """Retry jobs of dead workers, as its documentation shows, but every minute."""
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)


def prepare() -> None:
    """Create the schema."""
    opened().schema_manager.apply_schema()


@functools.cache
def opened() -> procrastinate.App:
    """Return an application for blocking calls."""
    sync.open()
    return sync


def enqueue(task: str, folder: str) -> str:
    """Defer a job."""
    return str(opened().configure_task(task, allow_unknown=True).defer(folder=folder))


def cancel(job: str) -> bool:
    """Cancel a job, or request its abort if it runs."""
    return opened().job_manager.cancel_job_by_id(int(job), abort=True)


def state(job: str) -> str:
    """Return the job's status."""
    return opened().job_manager.get_job_status(int(job)).value
