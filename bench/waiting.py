"""Measure how long reading the load takes: `python bench/waiting.py --jobs 1000000`.

For each store there are three cases: jobs without labels and with one priority; four sets of
labels; and four sets of labels with three priorities. The first read is reported separately,
because the memory store caches it.
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
# Name, required labels in rotation, number of priorities.
CASES = (("alike", PLAIN, 1), ("four sets of labels", QUARTERS, 1), ("priorities", QUARTERS, 3))


def main() -> None:
    """Fill, read, print the first read and the median of the others in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--looks", type=int, default=9)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for number, (name, labels, priorities) in enumerate(CASES):
            file = SqliteStore(Path(folder, f"{number}.db"), durability="normal")
            for kind, store in (("sqlite", file), ("memory", MemoryStore())):
                fill(store, given.jobs, labels, priorities)
                first, *others = [read_load(store, given.jobs) for _ in range(given.looks + 1)]
                print(f"{kind}, {name}: {first:.2f} ms, then {statistics.median(others):.2f} ms")
                store.close()


def fill(store: Store, count: int, labels: Sequence[tuple[str, ...]], priorities: int) -> None:
    """Enqueue jobs that require each set of labels in rotation."""
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


def read_load(store: Store, count: int) -> float:
    """Return how long one read takes, in milliseconds."""
    began = time.perf_counter()
    loads = store.load(limit=100).result(60)
    took = time.perf_counter() - began
    assert sum(each.waiting for each in loads) == count
    return took * 1000


if __name__ == "__main__":
    main()
