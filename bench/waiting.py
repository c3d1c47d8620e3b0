"""How long a scaler's look at what waits takes: `python bench/waiting.py --jobs 1000000`.

For each store, three queues' worth of jobs: all without labels and of one priority; in quarters
with labels; and of three priorities. The first look is told apart, as memory remembers it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from conveyor.core.job import NewJob, Options
from conveyor.store.memory.store import MemoryStore
from conveyor.store.protocol import Store
from conveyor.store.sqlite.store import SqliteStore

BATCH = 5000
PLAIN: Sequence[tuple[str, ...]] = ((),)
QUARTERS: Sequence[tuple[str, ...]] = ((), ("gpu",), ("big",), ("big", "gpu"))
# What the case is called, the labels that jobs require in turns, how many priorities.
CASES = (("alike", PLAIN, 1), ("four sets of labels", QUARTERS, 1), ("priorities", QUARTERS, 3))


def main() -> None:
    """Fill, look, print the first look and the median of the others in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--looks", type=int, default=9)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for number, (name, labels, priorities) in enumerate(CASES):
            file = SqliteStore(Path(folder, f"{number}.db"), durability="normal")
            for kind, store in (("sqlite", file), ("memory", MemoryStore())):
                fill(store, given.jobs, labels, priorities)
                first, *others = [look(store, given.jobs) for _ in range(given.looks + 1)]
                print(f"{kind}, {name}: {first:.2f} ms, then {statistics.median(others):.2f} ms")
                store.close()


def fill(store: Store, count: int, labels: Sequence[tuple[str, ...]], priorities: int) -> None:
    """Enqueue jobs that require labels in turns."""
    for start in range(0, count, BATCH):
        jobs = [
            NewJob(
                id=f"job-{number}",
                task="t",
                queue="q",
                priority=number % priorities,
                options=Options(requires=labels[number % len(labels)]),
            )
            for number in range(start, min(count, start + BATCH))
        ]
        store.insert(jobs).result(60)


def look(store: Store, count: int) -> float:
    """Return how long one look takes, in milliseconds."""
    began = time.perf_counter()
    loads = store.load(limit=100).result(60)
    took = time.perf_counter() - began
    assert sum(each.waiting for each in loads) == count
    return took * 1000


if __name__ == "__main__":
    main()
