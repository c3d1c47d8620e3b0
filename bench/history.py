"""Measure whether finished jobs slow down new ones: `python bench/history.py --finished 10000000`.

One file is filled with finished jobs, another stays empty, and the same number of jobs is drained
from each in alternation. Needs about 450 bytes of disk per finished job.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import apsw

from conveyor import Conveyor

FILL = """
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < :count)
INSERT INTO job (id, lane, task, args, options, checksum, state, priority, run_at, enqueued_at,
    attempt, lease, started_at, final_at)
SELECT printf('%08x-0000-7000-8000-%012x', n / 65536, n), 1, 'noop', x'7b7d', x'7b7d', 0,
    'completed', 0, :now - (:count - n) * 0.001, :now - (:count - n) * 0.001, 1, 1,
    :now - (:count - n) * 0.001, :now - (:count - n) * 0.001
FROM number
"""


def main() -> None:
    """Fill one file, drain both in alternation, print both rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finished", type=int, default=10_000_000)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        empty, full = Path(folder, "empty.db"), Path(folder, "full.db")
        for path in (empty, full):
            drain(path, 100)
        began = time.perf_counter()
        fill(full, given.finished)
        print(
            f"filled with {given.finished:,} finished jobs in {time.perf_counter() - began:.0f} s, "
            f"{full.stat().st_size / 1e9:.1f} GB"
        )
        rates: dict[Path, list[float]] = {empty: [], full: []}
        for _ in range(given.rounds):
            for path, measured in rates.items():
                measured.append(drain(path, given.jobs))
    medians = {path.stem: statistics.median(measured) for path, measured in rates.items()}
    for name, rate in medians.items():
        print(f"{name}: {rate:,.0f} jobs/s drained")
    print(f"ratio: {medians['full'] / medians['empty']:.3f}")


def fill(path: Path, count: int) -> None:
    """Insert finished jobs directly into the file, as Conveyor would have left them."""
    db = apsw.Connection(str(path))
    db.execute("PRAGMA synchronous = OFF")
    db.execute("PRAGMA cache_size = -500000")
    db.execute("BEGIN IMMEDIATE")
    # Younger than the retention period, so that nothing is pruned.
    db.execute(FILL, {"count": count, "now": time.time()})
    db.execute("UPDATE queue SET completed = completed + ?", (count,))
    db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def drain(path: Path, jobs: int) -> float:
    """Enqueue no-op jobs, drain them, and return jobs per second."""
    belt = Conveyor(str(path))

    @belt.task(name="noop")
    async def noop() -> None: ...

    for first in range(0, jobs, 1000):
        noop.enqueue_many([()] * min(1000, jobs - first))
    began = time.perf_counter()
    ended = belt.work(slots=100, timeout=600)
    rate = ended / (time.perf_counter() - began)
    belt.close()
    return rate


if __name__ == "__main__":
    main()
