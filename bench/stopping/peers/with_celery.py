"""Celery: prefork pool, Redis as broker and result backend."""

from __future__ import annotations

import os
import sys
from typing import Any

import bodies

# From its documentation: SIGTERM starts the soft shutdown. billiard reads this when it is imported,
# in the worker and in the client.
ENVIRONMENT = {"REMAP_SIGTERM": "SIGQUIT"}
os.environ.update(ENVIRONMENT)

from celery import Celery  # noqa: E402

PACKAGE = "celery"
WORKER = [sys.executable, "-m", "celery", "-A", "with_celery", "worker", "-c", "1", "-l", "INFO"]
KINDS = {scene: ["process"] for scene in ("sigterm", "killed", "blocking", "tree")}
GONE = ["REVOKED"]

app = Celery("with_celery", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_track_started=True,
    worker_prefetch_multiplier=1,
    worker_soft_shutdown_timeout=float(os.environ["DRAIN"]),
    # From the documentation: longer than the longest task, which takes a minute here.
    broker_transport_options={"visibility_timeout": 90},
    broker_connection_retry_on_startup=True,
)
for _body in (bodies.long, bodies.parent, bodies.beat, bodies.tree):
    app.task(_body, name=f"{_body.__name__}_process")


def enqueue(task: str, folder: str) -> str:
    """Send a task."""
    return str(app.send_task(task, [folder]).id)


def cancel(job: str) -> Any:
    """Revoke a task and kill the pool process that runs it."""
    return app.control.revoke(job, terminate=True)


def state(job: str) -> str:
    """Return the state from the result backend."""
    return str(app.AsyncResult(job).state)
