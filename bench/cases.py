"""One measurement in its own process: `python cases.py NAME JOBS` prints the figures as JSON.

Every case does the same: one caller enqueues no-op jobs one at a time, one worker process runs
them, and then single jobs are timed from enqueue to the start of their code. PostgreSQL is measured
if BENCH_POSTGRES is the URL of a server. If a system cannot
separate the two (taskiq's in-memory broker runs jobs at once), enqueueing and running are measured
together.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROBES = 300
PRODUCERS = 64
TIMEOUT = 600.0
Figures = dict[str, float]


class Timer:
    """Wall and CPU time of one phase."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def figures(self, name: str, jobs: int) -> Figures:
        """Return jobs per second and CPU microseconds per job since creation."""
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        return {f"{name}_per_s": jobs / wall, f"{name}_cpu_us": 1e6 * cpu / jobs}


def latencies(seconds: list[float]) -> Figures:
    """Return the median and the 99th percentile, in milliseconds."""
    ordered = sorted(seconds)
    return {
        "p50_ms": 1000 * ordered[len(ordered) // 2],
        "p99_ms": 1000 * ordered[len(ordered) * 99 // 100],
    }


def conveyor(url: str, jobs: int, *, thread: bool = False) -> Figures:
    """Measure Conveyor on one store."""
    from conveyor import Conveyor

    belt = Conveyor(url)
    queue = belt.queue("bench")
    started: list[float] = []

    @queue.task(name="coroutine")
    async def coroutine() -> None: ...

    @queue.task(name="thread")
    def blocking() -> None: ...

    @queue.task(name="probe")
    async def probe() -> None:
        started.append(time.perf_counter())

    noop = blocking if thread else coroutine
    timer = Timer()
    for _ in range(jobs):
        noop.enqueue()
    figures = timer.figures("enqueue", jobs)
    figures |= asyncio.run(_many_producers(noop, jobs))
    timer = Timer()
    ended = belt.work(queues=["bench"], slots=100, timeout=TIMEOUT)
    assert ended == 2 * jobs, f"{ended} of {2 * jobs} jobs ended"
    figures |= timer.figures("drain", 2 * jobs)

    async def time_single_jobs() -> list[float]:
        worker = belt.worker(queues=["bench"], slots=4)
        running = asyncio.create_task(worker.run())
        took: list[float] = []
        for _ in range(PROBES):
            before = time.perf_counter()
            await (await probe.aenqueue())
            took.append(started[-1] - before)
        worker.drain()
        await running
        return took

    figures |= latencies(asyncio.run(time_single_jobs()))
    belt.close()
    return figures


async def _many_producers(noop: Any, jobs: int) -> Figures:
    async def produce(count: int) -> None:
        for _ in range(count):
            await noop.aenqueue()

    shares = [jobs // PRODUCERS + (number < jobs % PRODUCERS) for number in range(PRODUCERS)]
    timer = Timer()
    await asyncio.gather(*map(produce, shares))
    return timer.figures(f"enqueue{PRODUCERS}", jobs)


def conveyor_on_postgres(server: str, jobs: int) -> Figures:
    """Measure Conveyor on a PostgreSQL server, in a schema of its own."""
    import psycopg

    from conveyor.store.postgres.address import parse_address
    from conveyor.store.postgres.migrate import Migration

    schema = f"bench_{os.getpid()}"
    url = f"{server}{'&' if '?' in server else '?'}schema={schema}"
    Migration(parse_address(url)).run()
    try:
        return conveyor(url, jobs)
    finally:
        with psycopg.connect(server, autocommit=True) as session:
            session.execute(f"DROP SCHEMA {schema} CASCADE".encode())


def huey(make: Callable[[], Any], jobs: int) -> Figures:
    """Measure huey on one of its storages, with its consumer thread in this process."""
    queue = make()
    done = threading.Semaphore(0)
    started: list[float] = []

    @queue.task()
    def noop() -> None:
        done.release()

    @queue.task()
    def probe() -> None:
        started.append(time.perf_counter())
        done.release()

    timer = Timer()
    for _ in range(jobs):
        noop()
    figures = timer.figures("enqueue", jobs)
    # One thread is fastest here; more compete for the GIL and the file.
    consumer = queue.create_consumer(
        workers=1, periodic=False, initial_delay=0.001, max_delay=0.001, check_worker_health=False
    )
    timer = Timer()
    consumer.start()
    for _ in range(jobs):
        assert done.acquire(timeout=TIMEOUT)
    figures |= timer.figures("drain", jobs)
    took: list[float] = []
    for _ in range(PROBES):
        before = time.perf_counter()
        probe()
        assert done.acquire(timeout=TIMEOUT)
        took.append(started[-1] - before)
    consumer.stop()
    return figures | latencies(took)


def taskiq(jobs: int) -> Figures:
    """Measure taskiq's in-memory broker, which runs jobs at once, in the same event loop."""
    from taskiq import InMemoryBroker

    broker = InMemoryBroker(max_async_tasks=100)
    started: list[float] = []

    @broker.task
    async def noop() -> None: ...

    @broker.task
    async def probe() -> None:
        started.append(time.perf_counter())

    async def measure() -> Figures:
        await broker.startup()
        timer = Timer()
        for _ in range(jobs):
            await noop.kiq()
        await broker.wait_all()
        figures = timer.figures("through", jobs)
        took: list[float] = []
        for _ in range(PROBES):
            before = time.perf_counter()
            sent = await probe.kiq()
            await sent.wait_result(check_interval=0.0001)
            took.append(started[-1] - before)
        await broker.shutdown()
        return figures | latencies(took)

    return asyncio.run(measure())


def cases(folder: Path) -> dict[str, Callable[[int], Figures]]:
    """Return every case by name, with files in `folder`."""

    def memory_huey() -> Any:
        from huey import MemoryHuey

        return MemoryHuey(results=False)

    def sqlite_huey(*, fsync: bool) -> Any:
        from huey import SqliteHuey

        return SqliteHuey(filename=str(folder / "huey.db"), fsync=fsync, results=False)

    file = str(folder / "jobs.db")
    server = os.environ.get("BENCH_POSTGRES", "")
    postgres = {"conveyor, PostgreSQL, durable": lambda jobs: conveyor_on_postgres(server, jobs)}
    return (postgres if server else {}) | {
        "conveyor, memory, coroutines": lambda jobs: conveyor("memory:", jobs),
        "conveyor, memory, threads": lambda jobs: conveyor("memory:", jobs, thread=True),
        "huey, memory, threads": lambda jobs: huey(memory_huey, jobs),
        "taskiq, memory, coroutines": taskiq,
        "conveyor, SQLite, durable": lambda jobs: conveyor(file, jobs),
        "huey, SQLite, durable": lambda jobs: huey(lambda: sqlite_huey(fsync=True), jobs),
        "conveyor, SQLite, durability=normal": lambda jobs: conveyor(
            f"sqlite:///{file}?durability=normal", jobs
        ),
        "huey, SQLite, no fsync": lambda jobs: huey(lambda: sqlite_huey(fsync=False), jobs),
    }


def main() -> None:
    """Run the case named on the command line."""
    name, jobs = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        print(json.dumps(cases(Path(folder))[name](jobs)))


if __name__ == "__main__":
    main()
