"""What a program learns of its jobs: records as plain data, and the last attempt."""

from __future__ import annotations

import json

from conveyor import Conveyor, current_job


def test_a_record_of_a_finished_job_can_be_a_response_as_it_is() -> None:
    belt = Conveyor("memory:")

    @belt.task(name="add", meta={"order": 7})
    async def add(a: int, b: int) -> dict[str, int]:
        return {"sum": a + b}

    job = add.enqueue(1, b=2)
    belt.work(timeout=30)
    data = json.loads(json.dumps(job.refresh().record.to_dict()))
    assert (data["id"], data["state"]) == (job.id, "completed")
    assert (data["args"], data["result"]) == ({"a": 1, "b": 2}, {"sum": 3})
    assert data["options"]["meta"] == {"order": 7}


def test_a_job_knows_its_last_attempt() -> None:
    belt = Conveyor("memory:")
    seen: list[tuple[int, bool]] = []

    @belt.task(name="fail", retries=2, backoff=0)
    def fail() -> None:
        seen.append((current_job().attempt, current_job().is_last_attempt))
        raise LookupError

    fail.enqueue()
    belt.work(timeout=30)
    assert seen == [(1, False), (2, False), (3, True)]


def test_the_only_attempt_is_the_last_one() -> None:
    belt = Conveyor("memory:")

    @belt.task(name="once")
    async def once() -> bool:
        return current_job().is_last_attempt

    job = once.enqueue()
    belt.work(timeout=30)
    assert job.result(10) is True
