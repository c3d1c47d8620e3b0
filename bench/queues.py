"""Measure what the queues without jobs cost a worker: `python bench/queues.py --queues 1000`.

One worker serves many queues, and one caller enqueues no-op jobs one at a time, each into a queue
drawn at random, and waits for it. The figures are milliseconds and CPU milliseconds per job.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path

from conveyor import Conveyor


def main() -> None:
    """Print the figures for one queue and for many, on SQLite and in memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queues", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=300)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for queues in (1, given.queues):
            file = f"sqlite:///{Path(folder, f'{queues}.db')}?durability=normal"
            for kind, url in (("sqlite", file), ("memory", "memory:")):
                wall, cpu = asyncio.run(run(url, queues, given.jobs))
                print(f"{kind}, {queues} queues: {wall:.2f} ms, CPU {cpu:.2f} ms per job")


async def run(url: str, queues: int, jobs: int) -> tuple[float, float]:
    """Return the wall and CPU time of one job, in milliseconds."""
    belt = Conveyor(url)
    names = [f"queue-{number}" for number in range(queues)]
    for name in names:
        belt.queue(name)

    @belt.task(name="noop")
    async def noop() -> None: ...

    draw = random.Random(1)
    async with belt.worker(queues=names, slots=4, keep=False):
        for name in names:
            await noop.using(queue=name).aenqueue()
        await (await noop.using(queue=names[-1]).aenqueue())
        await asyncio.sleep(1)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(jobs):
            await (await noop.using(queue=draw.choice(names)).aenqueue())
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    belt.close()
    return 1000 * wall / jobs, 1000 * cpu / jobs


if __name__ == "__main__":
    main()
