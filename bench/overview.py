"""Measure how long an overview takes: `python bench/overview.py --queues 1000 --jobs 1000000`.

A store gets this many jobs in this many queues, each of which had something to do in each of the
last 60 minutes. The first overview reads all of that, each later one the last minutes only. `held
up` is for how long the longest of its parts keeps other calls waiting in SQLite and memory, where
one transaction runs at a time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from minutes import lent_server

from conveyor.core.job import NewJob
from conveyor.store.memory.store import MemoryStore
from conveyor.store.operation_store import OperationStore
from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.migrate import Migration
from conveyor.store.postgres.store import PostgresStore
from conveyor.store.sqlite.store import SqliteStore
from conveyor.testing import FakeClock

MINUTES = 60


def main() -> None:
    """Fill each store, look at it, and print the times in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stores", default="memory,sqlite,postgres")
    parser.add_argument("--queues", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--looks", type=int, default=9)
    given = parser.parse_args()
    for kind in given.stores.split(","):
        clock = FakeClock(1_000_000_000.0)
        with opened(kind, clock) as store:
            fill(store, clock, given.queues, given.jobs)
            longest = watch(store)
            first, *others = [look(store, clock) for _ in range(given.looks + 1)]
            print(
                f"{kind}: first {first:.0f} ms, then {statistics.median(others):.1f} ms "
                f"(to {max(others):.1f}), held up {max(longest):.1f} ms",
                flush=True,
            )


def fill(store: OperationStore, clock: FakeClock, queues: int, jobs: int) -> None:
    """Put the same number of jobs into each queue, over an hour."""
    share = max(1, jobs // queues // MINUTES)
    for minute in range(MINUTES):
        for queue in range(queues):
            store.insert(
                [
                    NewJob(id=f"{queue}-{minute}-{n}", task="t", queue=f"queue-{queue:04}")
                    for n in range(share)
                ]
            ).result(60)
        clock.advance(60.0)


def look(store: OperationStore, clock: FakeClock) -> float:
    """Return how long an overview takes, in milliseconds."""
    clock.advance(60.0)  # longer than it ever waits before it looks again
    started = time.perf_counter()
    store.overview(queues=50).result(60)
    return 1000 * (time.perf_counter() - started)


def watch(store: OperationStore) -> list[float]:
    """Return a list to which each operation adds how long it took, in milliseconds."""
    took: list[float] = []
    run = store._run  # noqa: SLF001 - what one transaction is

    def timed(*args: Any, **given: Any) -> Any:
        started = time.perf_counter()
        answer = run(*args, **given)
        answer.result(60)
        took.append(1000 * (time.perf_counter() - started))
        return answer

    store._run = timed  # type: ignore[method-assign]  # noqa: SLF001
    return took


@contextmanager
def opened(kind: str, clock: FakeClock) -> Iterator[OperationStore]:
    """Lend an empty store of a kind."""
    if kind == "memory":
        yield MemoryStore(clock)
    elif kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            store = SqliteStore(Path(folder, "jobs.db"), clock=clock, durability="normal")
            yield store
            store.close()
    else:
        with lent_server() as server:
            url = f"{server}{'&' if '?' in server else '?'}schema=bench_{os.getpid()}"
            Migration(parse_address(url)).run()
            try:
                store = PostgresStore(url, clock=clock)
                yield store
                store.close()
            finally:
                with psycopg.connect(server, autocommit=True) as session:
                    session.execute(f"DROP SCHEMA bench_{os.getpid()} CASCADE".encode())


if __name__ == "__main__":
    sys.exit(main())
