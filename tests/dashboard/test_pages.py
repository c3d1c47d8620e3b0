"""Every page of the dashboard in a real browser: real data, both themes, narrow, by axe."""

from __future__ import annotations

import pytest
from world import World

SEEN: dict[str, str] = {
    "queues": "imports",
    "queues/mail": "Its jobs",
    "jobs": "send_mail",
    "jobs?state=discarded": "ConnectionError",
    "failures": "ConnectionError",
    "workers": "slots",
    "schedules": "nightly",
    "scaler": "No scaler has run",
    "audit": "pause queue",
}


@pytest.fixture(scope="module")
def shop(world: World) -> World:
    """Fill the world with jobs in every state, once."""
    for queue in ("imports", "billing"):
        for _ in range(3):
            world.mail(queue=queue, capacity=3)
    world.store.set_paused("billing", paused=True).result()
    world.mail(delay=3600.0)
    done = [world.mail() for _ in range(5)]
    failed = [world.mail(fails=True) for _ in range(3)]
    world.video()
    for job_id in [*done, *failed]:
        world.wait_for(job_id)
    return world
