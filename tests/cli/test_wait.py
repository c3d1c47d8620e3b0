"""`conveyor wait`."""

from __future__ import annotations

import signal
from pathlib import Path

from shell import Command, Start, Until

from conveyor import Conveyor


def test_wait_ends_with_how_the_jobs_ended(conveyor: Command, belt: Conveyor) -> None:
    good, bad = belt.functions["send"].enqueue("ann"), belt.functions["send"].enqueue("nobody")
    late = conveyor("wait", good.id, "--timeout", "0.05")
    assert late.code == 5
    assert "has not ended" in late.err
    belt.work(queues=["mail"], timeout=30, keep=False)
    assert conveyor("wait", good.id).out == f"{good.id} completed\n"
    ran = conveyor("wait", good.id, bad.id, "--json")
    assert ran.code == 1
    assert [job["state"] for job in ran.data] == ["completed", "discarded"]


def test_wait_interrupted_ends_with_130(start: Start, belt: Conveyor, until: Until) -> None:
    job = belt.functions["send"].enqueue("ann")
    waiting = start("wait", job.id)
    until(lambda: any((Path("jobs.db.bells")).glob(f"{waiting.pid}-*.final")))
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(30) == 130
    _, err = waiting.communicate()
    assert err.strip() == "interrupted"
