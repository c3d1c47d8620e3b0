"""Dramatiq: threads of a worker process, Redis; aborting by its plug-in dramatiq-abort."""

from __future__ import annotations

import os
import sys

import bodies
import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO
from dramatiq.middleware.shutdown import ShutdownNotifications
from dramatiq_abort import Abortable, abort
from dramatiq_abort.backends import RedisBackend

PACKAGE = "dramatiq"
WORKER = [
    *(sys.executable, "-m", "dramatiq", "with_dramatiq", "--processes", "1", "--threads", "1"),
    *("--worker-shutdown-timeout", str(int(1000 * float(os.environ["DRAIN"])))),
]
KINDS = {
    **{scene: ["thread"] for scene in ("sigterm", "killed", "blocking", "tree")},
    "async": ["coroutine"],
}
GONE: list[str] = []

broker = RedisBroker(url=os.environ["REDIS_URL"])
broker.add_middleware(AsyncIO())
# Without it, a job longer than the shutdown timeout runs until it is killed.
broker.add_middleware(ShutdownNotifications(notify_shutdown=True))
broker.add_middleware(Abortable(backend=RedisBackend.from_url(os.environ["REDIS_URL"])))
dramatiq.set_broker(broker)
for _body in (bodies.long, bodies.parent, bodies.beat, bodies.tree):
    dramatiq.actor(_body, actor_name=f"{_body.__name__}_thread")
dramatiq.actor(bodies.abeat, actor_name="beat_coroutine")


def enqueue(task: str, folder: str) -> str:
    """Send a message to an actor."""
    return str(broker.get_actor(task).send(folder).message_id)


def cancel(job: str) -> None:
    """Abort a message."""
    abort(job)


def state(_job: str) -> str:
    """Return nothing: dramatiq keeps no states."""
    return ""
