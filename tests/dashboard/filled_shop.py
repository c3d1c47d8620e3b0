"""A world with jobs in every state: what most tests look at and none changes."""

from __future__ import annotations

from typing import NamedTuple

from shop_world import HOSTILE_QUEUE, HOSTILE_TASK, World

from conveyor.core.job import State


class Shop(NamedTuple):
    """The ids of the jobs, and where they are seen."""

    url: str
    worker: str
    waiting: str
    done: str
    failed: str
    running: str
    stopping: str
    hostile: str
    fingerprint: str


def fill(world: World) -> Shop:
    """Enqueue the jobs, and wait until each is in its state."""
    [_, _, full] = [world.mail(queue="imports", capacity=3) for _ in range(3)]
    waiting = world.mail(queue="billing")
    world.act("PUT", "queues/billing/paused", {"paused": True, "reason": "prices change"})
    world.mail(delay=3600.0)
    [done, *_] = [world.mail() for _ in range(5)]
    [failed, *_] = [world.mail(fails=True, options={"retries": 1}) for _ in range(3)]
    running, stopping = world.video(), world.video("stubborn", grace=3600.0)
    world.store.cancel(stopping, reason="wrong preset").result()
    hostile = world.enqueue(HOSTILE_TASK, queue=HOSTILE_QUEUE, options={"output_limit": 8_000_000})
    for job_id in (done, failed, hostile):
        world.wait_for(job_id)
    assert world.job(full).state is State.AVAILABLE
    [attempt, *_] = world.act("GET", f"jobs/{failed}/attempts")
    return Shop(
        world.url,
        world.worker,
        waiting,
        done,
        failed,
        running,
        stopping,
        hostile,
        attempt["fingerprint"],
    )
