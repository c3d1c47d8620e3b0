"""`conveyor logs`."""

from __future__ import annotations

import json

from shell import Command, Start, serve

from conveyor import Conveyor


def test_logs_prints_what_a_job_wrote(conveyor: Command, belt: Conveyor) -> None:
    job = belt.functions["send"].enqueue("ann")
    belt.work(queues=["mail"], timeout=30, keep=False)
    assert conveyor("logs", job.id).out == "sending to ann\ncareful\n"
    assert conveyor("logs", job.id, "--stream", "stderr").out == "careful\n"
    lines = [json.loads(line) for line in conveyor("logs", job.id, "--json").out.splitlines()]
    assert [line["stream"] for line in lines] == ["stdout", "stderr"]


def test_logs_follows_a_running_job_to_its_end(
    conveyor: Command, belt: Conveyor, start: Start
) -> None:
    job = belt.functions["steps"].enqueue()
    worker = serve(start)
    assert conveyor("logs", "-f", job.id).out == "step 0\nstep 1\nstep 2\n"
    record = job.refresh().record
    assert record.progress is not None
    assert (record.progress.done, record.progress.total) == (3, 3)
    worker.terminate()
    assert worker.wait(30) == 0
