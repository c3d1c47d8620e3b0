"""A signal that comes while a worker's event loop runs already, and the worker is not there yet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conveyor import Conveyor, State

# SIGTERM is heard, and what it asks for is tried, before there is a worker to do it.
EARLY = """
import asyncio, signal, sys
from app import belt
from conveyor.cli.shared.shutdown import Exit

async def serve():
    ends = Exit(asyncio.get_running_loop(), drain=60.0)
    ends.act(signal.SIGTERM, 1)
    await asyncio.sleep(0)
    worker = belt.worker()
    ends.take(worker, belt.url)
    await worker.run()
    return ends

ends = asyncio.run(serve())
belt.close()
sys.exit(ends.finish())
"""


def test_it_drains_the_worker_once_there_is_one(folder: Path, belt: Conveyor) -> None:
    job = belt.functions["send"].enqueue("ann")
    argv = [sys.executable, "-c", EARLY]
    ran = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=30)
    assert ran.returncode == 0, ran.stderr
    assert "no new jobs; 0 running" in ran.stderr
    assert "0 ended, 0 handed back" in ran.stderr
    assert job.refresh().state is State.AVAILABLE
