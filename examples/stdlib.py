"""Put Python's whole standard library through all four kinds of job, on one bounded queue.

Every module becomes four jobs: a coroutine that reads and hashes it, a thread that counts its
tokens, a process that compresses it at the highest level, and a command that byte-compiles it. The
queue holds at most 100 waiting jobs, so the producer has to wait. Interrupt it with Ctrl-C and run
it again: it continues where it stopped. It keeps everything in one directory; delete it freely.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import lzma
import os
import shutil
import signal
import sys
import sysconfig
import time
import tokenize
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TypedDict

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from conveyor import Conveyor, State

FOLDER = Path(os.environ.get("STDLIB_FOLDER", "stdlib-run")).absolute()
CAPACITY = 100
SKIPPED = {"test", "tests", "idle_test", "site-packages", "__pycache__", "lib2to3", "turtledemo"}

belt = Conveyor(FOLDER / "jobs.db")
stdlib = belt.queue("stdlib", capacity=CAPACITY)


class Sizes(TypedDict):
    """Bytes that a job read and produced."""

    bytes_in: int
    bytes_out: int


@stdlib.task(name="hash")
async def hash_module(path: Path) -> Sizes:
    """Hash a module in chunks, so that other jobs can run in between."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 16):
            digest.update(chunk)
            size += len(chunk)
            await asyncio.sleep(0)
    return {"bytes_in": size, "bytes_out": len(digest.digest())}


@stdlib.task(name="count")
def count_tokens(path: Path) -> Sizes:
    """Count a module's tokens and print the most frequent names, which become the job's output."""
    names: Counter[str] = Counter()
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.NAME:
                names[token.string] += 1
    line = " ".join(f"{name}={count}" for name, count in names.most_common(3))
    print(line)
    return {"bytes_in": path.stat().st_size, "bytes_out": len(line)}


@stdlib.task(name="compress", timeout=120)
def compress(path: Path, target: Path) -> Sizes:
    """Compress a module as far as possible; with a timeout, a blocking function is a process."""
    data = path.read_bytes()
    packed = lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)
    target.write_bytes(packed)
    return {"bytes_in": len(data), "bytes_out": len(packed)}


def modules() -> Iterator[tuple[str, Path]]:
    """Yield the name and file of each module in the running Python's standard library."""
    root = Path(sysconfig.get_path("stdlib"))
    for top in sorted(sys.stdlib_module_names):
        for path in [root / f"{top}.py", *sorted((root / top).rglob("*.py"))]:
            parts = path.relative_to(root).with_suffix("").parts
            if SKIPPED.isdisjoint(parts) and path.is_file():
                yield ".".join(parts), path


async def produce(listed: list[tuple[str, Path]], progress: Progress) -> tuple[float, int]:
    """Enqueue four jobs for each module; return the seconds spent and the number of new jobs."""
    waited, new = 0.0, 0
    bar = progress.add_task("enqueued", total=4 * len(listed))
    for name, path in listed:
        packed, compiled = FOLDER / f"{name}.xz", FOLDER / f"{name}.pyc"
        compile_it = (
            f"import py_compile as p; p.compile({str(path)!r}, {str(compiled)!r}, doraise=True)"
        )
        once = {"key": name, "key_until": "pruned"}
        started = time.monotonic()
        jobs = [
            await hash_module.using(**once).aenqueue(path),
            await count_tokens.using(**once).aenqueue(path),
            await compress.using(**once).aenqueue(path, packed),
            await belt.command(sys.executable, "-c", compile_it, queue="stdlib")
            .using(**once, meta={"source": str(path), "target": str(compiled)})
            .aenqueue(),
        ]
        waited += time.monotonic() - started
        new += sum(not job.existing for job in jobs)
        progress.update(bar, advance=4)
    return waited, new


async def show_progress(progress: Progress, expected: int) -> None:
    """Show how many jobs have ended, until all have."""
    bar = progress.add_task("done", total=expected)
    while (ended := await count_ended()) < expected:
        progress.update(bar, completed=ended)
        await asyncio.sleep(0.2)
    progress.update(bar, completed=ended)


async def count_ended() -> int:
    """Return how many jobs of the queue are final."""
    final = (State.COMPLETED, State.CANCELLED, State.DISCARDED)
    queues = await belt.store.counts()
    return sum(queue.counts.get(state, 0) for queue in queues for state in final)


def report(console: Console, seconds: float, waited: float, new: int) -> bool:
    """Print the outcome of all jobs; return whether all completed."""
    states: Counter[tuple[str, str]] = Counter()
    read: Counter[str] = Counter()
    written: Counter[str] = Counter()
    before = None
    while page := belt.jobs(queue="stdlib", before=before, limit=1000):
        before = page[-1].seq
        for job in page:
            kind = belt.tasks[job.task].kind
            states[kind, job.state] += 1
            sizes = belt.job(job.id).result() if job.state is State.COMPLETED else {}
            if kind == "command":
                source, target = (Path(job.options.meta[key]) for key in ("source", "target"))
                sizes = {"bytes_in": source.stat().st_size, "bytes_out": target.stat().st_size}
            read[kind] += sizes.get("bytes_in", 0)
            written[kind] += sizes.get("bytes_out", 0)
    table = Table("kind", "state", "jobs", "bytes in", "bytes out", title="The standard library")
    for column in table.columns[2:]:
        column.justify = "right"
    for (kind, state), count in sorted(states.items()):
        table.add_row(kind, state, f"{count:,}", f"{read[kind]:,}", f"{written[kind]:,}")
    table.add_section()
    total = sum(states.values())
    table.add_row("all", "", f"{total:,}", f"{read.total():,}", f"{written.total():,}")
    console.print(table)
    console.print(
        f"{new:,} new jobs in {seconds:.1f} s: {new / seconds:,.0f} jobs/s. "
        f"The producer waited {waited:.1f} s for room (capacity {CAPACITY}).",
        soft_wrap=True,
    )
    return total > 0 and all(state == State.COMPLETED for _, state in states)


async def main(limit: int | None, slots: int, console: Console) -> int:
    """Run a producer and a worker until every job is done or Ctrl-C is pressed."""
    worker = belt.worker(queues=["stdlib"], slots=slots, app="examples/stdlib.py")
    loop, interrupted = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGINT, interrupted.set)
    loop.add_signal_handler(signal.SIGTERM, interrupted.set)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    started = time.monotonic()
    listed = list(islice(modules(), limit))
    with Progress(*columns, console=console) as progress:
        running = asyncio.create_task(worker.run())
        both = asyncio.gather(produce(listed, progress), show_progress(progress, 4 * len(listed)))
        stop = asyncio.create_task(interrupted.wait())
        await asyncio.wait([running, both, stop], return_when=asyncio.FIRST_COMPLETED)
        finished = both.done()
        for task in (stop, both):
            task.cancel()
        worker.drain(timeout=20)  # running jobs finish, claimed ones are returned
        await asyncio.gather(running, stop, both, return_exceptions=True)
        running.result()  # raises if the worker failed
    if not finished:
        console.print("Interrupted. Running jobs were finished; run again to continue.")
        return 130
    [(waited, new), _] = await both
    return 0 if report(console, time.monotonic() - started, waited, new) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--modules", type=int, default=None, help="number of modules (default: all)"
    )
    parser.add_argument(
        "--slots", type=int, default=max(4, 2 * (os.cpu_count() or 1)), help="concurrent jobs"
    )
    parser.add_argument("--fresh", action="store_true", help="delete earlier runs first")
    options = parser.parse_args()
    if options.fresh:
        shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(exist_ok=True)
    code = asyncio.run(main(options.modules, options.slots, Console()))
    belt.close()
    sys.exit(code)
