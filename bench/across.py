"""Measure the latency to a worker in another process, and the throughput of sleeping jobs.

`python bench/across.py`. The latency is from the call of `enqueue` to the first line of the job, on
the clock that both processes share. The sleeping jobs are coroutines that sleep 10 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from conveyor import Conveyor

APP = """
import time

from conveyor import Conveyor

belt = Conveyor("jobs.db")


@belt.task(name="stamp")
async def stamp() -> float:
    return time.monotonic()
"""
SLEEP = 0.010


def main() -> None:
    """Print both figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--probes", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=60_000)
    parser.add_argument("--slots", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        took = latencies(Path(folder), given.probes)
        print(
            "enqueue to start in another process, SQLite: "
            f"p50 {1000 * statistics.median(took):.2f} ms, "
            f"p99 {1000 * sorted(took)[len(took) * 99 // 100]:.2f} ms"
        )
        for url in ("memory:", str(Path(folder, "sleep.db"))):
            rate = sleeping(url, given.jobs, given.slots)
            kind = "memory" if url == "memory:" else "SQLite"
            print(f"coroutines that sleep 10 ms, {given.slots} slots, {kind}: {rate:,.0f} jobs/s")


def latencies(folder: Path, probes: int) -> list[float]:
    """Return the latencies in seconds, one job at a time."""
    (folder / "app.py").write_text(APP)
    command = [sys.executable, "-m", "conveyor", "worker", "app:belt"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as worker:
        belt = Conveyor(folder / "jobs.db")
        took = probe(belt, probes)
        belt.close()
        worker.terminate()
    return took


def probe(belt: Conveyor, count: int) -> list[float]:
    """Return the seconds from each `enqueue` to the start of its job `stamp`."""
    stamp = belt.task(name="stamp")(os.getpid)  # only the name matters
    took: list[float] = []
    for number in range(count + 20):
        before = time.monotonic()
        started: object = stamp.enqueue().result(timeout=60)
        if number >= 20 and isinstance(started, float):
            took.append(started - before)
    return took


def sleeping(url: str, jobs: int, slots: int) -> float:
    """Return how many sleeping jobs one worker drains per second."""
    belt = Conveyor(url)

    @belt.task(name="nap")
    async def nap() -> None:
        await asyncio.sleep(SLEEP)

    for first in range(0, jobs, 1000):
        nap.enqueue_many([()] * min(1000, jobs - first))
    began = time.perf_counter()
    ended = belt.work(slots=slots, timeout=600)
    rate = ended / (time.perf_counter() - began)
    belt.close()
    return rate


if __name__ == "__main__":
    main()
