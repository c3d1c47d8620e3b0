"""A job that kills its worker is discarded after three crashes, and takes no other job with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conveyor import Conveyor, State

APP = """
import os, signal, time
from conveyor import Conveyor, current_job

belt = Conveyor("jobs.db?durability=normal")


@belt.task(name="innocent")
async def innocent() -> None: ...


@belt.task(name="poison")
async def poison() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@belt.task(name="gone")
async def gone() -> None: ...


if __name__ == "__main__":
    belt.work(slots=1, timeout=120, keep=False)
"""


def test_a_job_that_kills_its_worker_is_discarded_and_the_others_run(
    tmp_path: Path,
) -> None:
    (tmp_path / "app.py").write_text(APP)
    belt = Conveyor(f"{tmp_path}/jobs.db?durability=normal")

    async def named() -> None: ...

    innocent = belt.task(name="innocent")(named)
    poison = belt.task(name="poison")(named)
    # Enough before it that the worker claims far ahead, and enough behind it to be claimed with it.
    innocent.enqueue_many([()] * 2000)
    bad = poison.enqueue()
    innocent.enqueue_many([()] * 2000)
    command = [sys.executable, "app.py"]
    ended = [
        subprocess.run(command, cwd=tmp_path, timeout=180, check=False).returncode for _ in range(4)
    ]
    assert ended == [-9, -9, -9, 0]
    assert bad.refresh().state is State.DISCARDED
    assert bad.record.crashes == 3
    assert [line.error.type for line in bad.history()] == ["WorkerLost"] * 3
    [queue] = belt.store.counts().result(10)
    assert queue.counts[State.COMPLETED] == 4000
    assert queue.counts[State.DISCARDED] == 1
    belt.close()
