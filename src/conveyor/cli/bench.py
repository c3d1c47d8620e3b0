"""`conveyor bench`: measures throughput and latency through the public interface."""

from __future__ import annotations

import asyncio
import os
import platform
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import click
import msgspec

from .. import __version__
from ..client.app import Conveyor
from ..client.task_function import TaskFunction
from .shared.application import belt_without_app
from .shared.options import json_option
from .shared.output import print_json, print_stderr, print_table

Noop = TaskFunction[[], None, Any]

PRODUCERS = 64
PROBES = 200


class Figure(msgspec.Struct, frozen=True):
    """One measurement. Latencies are in milliseconds, CPU in microseconds a job."""

    name: str
    jobs: int
    jobs_per_second: float
    cpu_us_per_job: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None


@click.command("bench")
@click.option("--url", default=None, help="memory: or a new file (default: a temporary file).")
@click.option(
    "--jobs",
    default=50_000,
    type=click.IntRange(100, 10_000_000),
    show_default=True,
    help="Number of jobs.",
)
@click.option(
    "--kind",
    type=click.Choice(["coroutine", "thread"]),
    default="coroutine",
    show_default=True,
    help="Kind of job.",
)
@click.option(
    "--slots",
    default=100,
    type=click.IntRange(1, 10_000),
    show_default=True,
    help="Slots of the worker.",
)
@json_option
def bench_command(url: str | None, jobs: int, kind: str, slots: int, as_json: bool) -> None:
    with _store_to_measure(url) as address:
        figures = measure(address, jobs=jobs, kind=kind, slots=slots)
    if as_json:
        print_json({"machine": machine(), "figures": figures})
        return
    print_stderr(", ".join(f"{name} {value}" for name, value in machine().items()))
    rows = [
        (
            each.name,
            f"{each.jobs:,}",
            f"{each.jobs_per_second:,.0f}",
            *(
                "-" if value is None else f"{value:.2f}"
                for value in (each.cpu_us_per_job, each.p50_ms, each.p99_ms)
            ),
        )
        for each in figures
    ]
    print_table(("MEASUREMENT", "JOBS", "JOBS/S", "CPU us/JOB", "p50 ms", "p99 ms"), rows)


def machine() -> dict[str, str]:
    """Return the versions and the hardware that the results depend on."""
    return {
        "conveyor": __version__,
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "system": f"{platform.system()} {platform.release()}",
        "cores": str(os.cpu_count()),
    }


def measure(url: str, *, jobs: int, kind: str, slots: int) -> list[Figure]:
    """Enqueue and drain no-op jobs, then time single ones from enqueue to start."""
    belt = belt_without_app(url)
    queue = belt.queue("bench")
    started_at: list[float] = []

    @queue.task(name="coroutine")
    async def coroutine() -> None: ...

    @queue.task(name="thread")
    def thread() -> None: ...

    @queue.task(name="stamp")
    async def probe() -> None:
        started_at.append(time.perf_counter())

    noop: Noop = coroutine if kind == "coroutine" else thread
    try:
        return [
            asyncio.run(_enqueue_one_by_one(noop, max(1, jobs // 10))),
            _enqueue_in_bulk(noop, jobs),
            _drain(belt, jobs + max(1, jobs // 10), slots),
            asyncio.run(_latency(belt, probe, started_at)),
        ]
    finally:
        belt.close()


async def _enqueue_one_by_one(noop: Noop, jobs: int) -> Figure:
    async def produce(count: int) -> None:
        for _ in range(count):
            await noop.aenqueue()

    shares = [jobs // PRODUCERS + (number < jobs % PRODUCERS) for number in range(PRODUCERS)]
    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(produce(share) for share in shares))
    return _figure(f"enqueue, {PRODUCERS} coroutines", jobs, started, cpu)


def _enqueue_in_bulk(noop: Noop, jobs: int) -> Figure:
    started, cpu = time.perf_counter(), time.process_time()
    for first in range(0, jobs, 1000):
        noop.enqueue_many([()] * min(1000, jobs - first))
    return _figure("enqueue, 1,000 at once", jobs, started, cpu)


def _drain(belt: Conveyor, jobs: int, slots: int) -> Figure:
    started, cpu = time.perf_counter(), time.process_time()
    ended = belt.work(queues=["bench"], slots=slots, timeout=600)
    if ended != jobs:
        raise RuntimeError(f"{ended} of {jobs} jobs ended: this is a bug")
    return _figure(f"drain, {slots} slots", jobs, started, cpu)


async def _latency(belt: Conveyor, probe: Noop, started_at: list[float]) -> Figure:
    worker = belt.worker(queues=["bench"], slots=4)
    running = asyncio.create_task(worker.run())
    took: list[float] = []
    started, cpu = time.perf_counter(), time.process_time()
    for _ in range(PROBES):
        before = time.perf_counter()
        await (await probe.aenqueue())
        took.append(1000 * (started_at[-1] - before))
    figure = _figure("enqueue to start, one at a time", PROBES, started, cpu)
    worker.drain()
    await running
    took.sort()
    return msgspec.structs.replace(
        figure, p50_ms=took[len(took) // 2], p99_ms=took[len(took) * 99 // 100]
    )


def _figure(name: str, jobs: int, started: float, cpu: float) -> Figure:
    seconds = time.perf_counter() - started
    return Figure(name, jobs, jobs / seconds, 1e6 * (time.process_time() - cpu) / jobs)


@contextmanager
def _store_to_measure(url: str | None) -> Generator[str]:
    if url is not None:
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="conveyor-bench-") as folder:
        yield str(Path(folder) / "jobs.db")
