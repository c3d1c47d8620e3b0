"""Measure Conveyor alone on PostgreSQL: `python bench/postgres/conditions.py`.

- sleep: one worker with 1,000 slots drains coroutines that sleep 10 ms;
- beside: the latency from enqueue to start if producer and worker are one process;
- delay: drain with one worker and with two, with and without 1 ms added to each round trip;
- lanes: one claim of 100 jobs from 1,000 queues, and from 1,000 lanes of one queue;
- callers: 32 processes that enqueue one job at a time beside one that does;
- backlog: a backlog is drained by two workers, at its begin and at its end.

The server is that of BENCH_POSTGRES, which must be reached by a unix socket, or a private one.
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
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import systems
from rows import (
    Bench,
    Figures,
    database,
    drain,
    medians,
    print_machine,
    private_server,
    produce,
    sizes,
    wait_until,
)

from conveyor import Conveyor
from conveyor.core.ids import IdMaker
from conveyor.core.job import NewJob, Options
from conveyor.store.messages import Claimant, Want
from conveyor.store.postgres.store import PostgresStore

HERE = Path(__file__).parent
DELAY = 0.001
LANES, BATCH, CALLERS = 1000, 100, 32
IDS = IdMaker()


def main() -> None:
    """Run the rows and print the medians of their figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=60_000)
    parser.add_argument("--backlog", type=int, default=2_000_000)
    parser.add_argument("--probes", type=int, default=300)
    parser.add_argument("--singles", type=int, default=500, help="of each of the callers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", default=",".join(ROWS))
    given = parser.parse_args()
    with ExitStack() as stack:
        server = os.environ.get("BENCH_POSTGRES") or stack.enter_context(private_server())
        os.environ["BENCH_ANY"] = server
        print_machine(server)
        conveyor = systems.find("conveyor")
        for name in given.rows.split(","):
            rounds: list[Figures] = []
            for _ in range(1 if name == "backlog" else given.rounds):
                with database(server) as url, tempfile.TemporaryDirectory() as folder:
                    bench = Bench(conveyor, url, Path(folder))
                    bench.run("setup")
                    rounds.append(ROWS[name](bench, given))
            shown = (f"{key} {value:,.2f}" for key, value in medians(rounds).items())
            print(f"{name}: {', '.join(shown)}", flush=True)


def sleep(bench: Bench, given: argparse.Namespace) -> Figures:
    slots = ["1000" if part == "200" else part for part in bench.system.worker]
    bench.system = replace(bench.system, worker=slots)
    return {"jobs/s": drain(bench, given.jobs, 1, "naps")["drain"]}


def beside(bench: Bench, given: argparse.Namespace) -> Figures:
    took = sorted(asyncio.run(latencies(bench.url, given.probes)))
    return {"p50 ms": took[len(took) // 2], "p99 ms": took[len(took) * 99 // 100]}


async def latencies(url: str, probes: int) -> list[float]:
    """Return the milliseconds from each enqueue to the start of its job, one at a time."""
    belt = Conveyor(url)

    @belt.task
    async def stamp(enqueued_at: float) -> float:
        return 1000 * (time.monotonic() - enqueued_at)

    took: list[float] = []
    async with belt.worker():
        for _ in range(probes + 20):
            await asyncio.sleep(0.02)
            job = await stamp.aenqueue(time.monotonic())
            took.append(await job)
    belt.close()
    return took[20:]


def delay(bench: Bench, given: argparse.Namespace) -> Figures:
    figures: Figures = {}
    for workers in (1, 2):
        near = rate(bench, given.jobs, workers)
        with delayed(bench.url) as url:
            far = rate(Bench(bench.system, url, bench.folder), given.jobs, workers)
        figures |= {
            f"{workers} near/s": near,
            f"{workers} far/s": far,
            f"{workers} kept": far / near,
        }
    return figures


def rate(bench: Bench, jobs: int, workers: int) -> float:
    for file in bench.folder.glob("marks-*"):
        file.unlink()
    return next(iter(drain(bench, jobs, workers).values()))


@contextmanager
def delayed(url: str) -> Generator[str]:
    """Yield the URL of a proxy that adds DELAY to each round trip."""
    [folder] = parse_qs(urlsplit(url).query)["host"]
    with tempfile.TemporaryDirectory(prefix="bench-") as own:
        command = [sys.executable, str(HERE / "delay.py"), folder, own, str(DELAY)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as proxy:
            try:
                if proxy.stdout is None or proxy.stdout.readline() != "ready\n":
                    raise RuntimeError("the proxy has ended")
                # To the client, whoever is not the server of the handshake is a pooler.
                yield url.replace(folder, own) + "&pool=session"
            finally:
                proxy.terminate()


def lanes(bench: Bench, _given: argparse.Namespace) -> Figures:
    """Each claim looks at all of them; there are jobs in each, then in three."""
    figures: Figures = {}
    store = PostgresStore(bench.url)
    queues = [f"queue-{number}" for number in range(LANES)]
    labels = frozenset(f"label-{number}" for number in range(LANES))
    claimant = Claimant(worker="w", labels=labels, lease_for=60.0)
    for kind in ("queues", "lanes"):
        names = queues if kind == "queues" else ["one"]
        wants = [Want(name, BATCH) for name in names]
        for many in (True, False):
            for number in range(LANES if many else 3):
                put(store, kind, number, 20 if many else 500)
            claimed = [claim(store, wants, claimant) for _ in range(60 if many else 10)]
            place = f"{kind}, jobs in {'all' if many else 'three'}"
            figures[f"{place}, p50 ms"] = statistics.median(claimed[5:])
            while store.claim(wants, claimant, limit=10_000).result():
                pass
    store.close()
    return figures


def put(store: PostgresStore, kind: str, number: int, count: int) -> None:
    queue = f"queue-{number}" if kind == "queues" else "one"
    requires = () if kind == "queues" else (f"label-{number}",)
    options = Options(requires=requires)
    jobs = [
        NewJob(id=IDS.make(time.time()), task="noop", queue=queue, options=options)
        for _ in range(count)
    ]
    store.insert(jobs, capacity=None, when_full="refuse").result()


def claim(store: PostgresStore, wants: list[Want], claimant: Claimant) -> float:
    began = time.monotonic()
    store.claim(wants, claimant, limit=BATCH).result()
    return 1000 * (time.monotonic() - began)


def callers(bench: Bench, given: argparse.Namespace) -> Figures:
    one = produce(bench, "one", 4 * given.singles)["one"]
    many = produce(bench, "one", given.singles, CALLERS)["one"]
    return {"one/s": one, f"{CALLERS}/s": many, "ratio": many / one}


def backlog(bench: Bench, given: argparse.Namespace) -> Figures:
    """The rates of ten parts of a drain; the last one is left out, as a worker may end before."""
    bench.produce("bulk", given.backlog // 2, 2)
    part = given.backlog // 10
    times: list[float] = []
    with bench.workers(2) as files:
        for number in range(10):
            until = max(1, number * part)
            wait_until(lambda: sum(sizes(files)) >= until)  # noqa: B023 - called at once
            times.append(time.monotonic())
    rates = [part / (after - before) for before, after in pairwise(times)]
    return {"second tenth/s": rates[1], "ninth tenth/s": rates[-1], "slowest/s": min(rates)}


ROWS: dict[str, Callable[[Bench, argparse.Namespace], Figures]] = {
    each.__name__: each for each in (sleep, beside, delay, lanes, callers, backlog)
}

if __name__ == "__main__":
    main()
