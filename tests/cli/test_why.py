"""`conveyor why`."""

from __future__ import annotations

from shell import Command

from conveyor import Conveyor
from conveyor.core.job import WorkerInfo


def worker(belt: Conveyor, **given: object) -> None:
    """Make a worker known that is alive and idle."""
    fields = {
        "id": "w-1", "host": "here", "boot_id": "b", "pid": 1, "pid_started": 0.0,
        "started_at": 0.0, "slots": 2, "queues": ("mail",),
    }  # fmt: skip
    belt.store.beat(WorkerInfo(**(fields | given))).result(10)  # type: ignore[arg-type]


def test_why_says_in_a_sentence_what_a_job_waits_for(conveyor: Command, belt: Conveyor) -> None:
    send = belt.functions["send"]
    first, job = send.enqueue("ann"), send.enqueue("bob")
    later = send.using(delay="5m").enqueue("eve")

    def why(job_id: str) -> str:
        ran = conveyor("why", job_id)
        assert ran.code == 0
        assert conveyor("why", job_id, "--json").data["why"].split()[:3] == ran.out.split()[:3]
        return ran.out

    assert "due at" in why(later.id)
    assert "No worker serves queue 'mail'" in why(job.id)
    worker(belt)
    assert "waits behind 1 job in queue" in why(job.id)
    assert "It is next" in why(first.id)
    worker(belt, running=2)
    assert "All slots are busy" in why(first.id)
    assert "has all labels it requires: gpu" in why(belt.functions["shop.pack"].enqueue().id)
    belt.queues["mail"].pause()
    assert "paused" in why(job.id)
    assert "conveyor queues resume mail" in why(job.id)
