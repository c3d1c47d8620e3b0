"""`conveyor retry`."""

from __future__ import annotations

from shell import Command

from conveyor import Conveyor


def test_retry_runs_an_ended_job_again(conveyor: Command, belt: Conveyor) -> None:
    job = belt.functions["send"].enqueue("nobody")
    belt.work(queues=["mail"], timeout=30, keep=False)
    assert conveyor("retry", job.id).out == f"{job.id} available\n"
    ran = conveyor("retry", job.id)
    assert ran.code == 1
    assert "only a job that ended" in ran.err
