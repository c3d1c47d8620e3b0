"""Measure what the history costs: `python bench/minutes.py --stores memory,sqlite`.

Two stores of a kind get the same no-op jobs in turns, in one process: to enqueue in batches of
1,000, to enqueue one at a time, and to drain with 100 slots. For one of them everything is removed
that counts for the history. PostgreSQL is measured on the server of BENCH_POSTGRES, or else on a
private one with fsync from the wheel of the tests; its processor time includes that of the server.
A ratio of 1.03 means 3 % more time a job; the median of the turns is printed, and its quartiles.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from conveyor import Conveyor
from conveyor.store.memory import claim, enqueue
from conveyor.store.memory.data import MemoryData
from conveyor.store.sql.operations import claim as sql_claim
from conveyor.store.sql.operations import enqueue as sql_enqueue

ROOT = Path(__file__).parents[1]
TICKS = os.sysconf("SC_CLK_TCK")
SINGLE_SHARE = 10
# What counts, by the module that calls it.
COUNTING: Sequence[tuple[Any, str]] = (
    (claim, "count_started"),
    (claim, "_count_completed"),
    (enqueue, "add"),
    (sql_claim, "count_started"),
    (sql_claim, "count_completed"),
    (sql_enqueue, "add"),
)
Clock = Callable[[], float]


class Side:
    """One store, and the jobs that it gets."""

    def __init__(self, url: str, cpu: Clock, *, counts: bool) -> None:
        self.belt = Conveyor(url)
        self._cpu = cpu
        self._counts = counts

        @self.belt.queue("bench").task(name="noop")
        async def noop() -> None: ...

        self._noop = noop

    def turn(self, jobs: int) -> dict[str, float]:
        """Enqueue and drain; return microseconds a job."""
        with ExitStack() as stack:
            if not self._counts:
                stack.enter_context(no_history())
            single = max(1, jobs // SINGLE_SHARE)
            return {
                **self._time("enqueue, one at a time", single, lambda: self._enqueue(single)),
                **self._time("enqueue, 1,000 at once", jobs, lambda: self._enqueue_many(jobs)),
                **self._time("drain, 100 slots", jobs + single, self._drain),
            }

    def _time(self, name: str, jobs: int, act: Callable[[], object]) -> dict[str, float]:
        wall, cpu = time.perf_counter(), self._cpu()
        act()
        took, used = time.perf_counter() - wall, self._cpu() - cpu
        return {name: 1e6 * took / jobs, f"{name}, CPU": 1e6 * used / jobs}

    def _enqueue(self, jobs: int) -> None:
        for _ in range(jobs):
            self._noop.enqueue()

    def _enqueue_many(self, jobs: int) -> None:
        for _ in range(0, jobs, 1000):
            self._noop.enqueue_many([()] * 1000)

    def _drain(self) -> None:
        self.belt.work(queues=["bench"], slots=100, timeout=600)


def main() -> None:
    """Take turns on each store, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stores", default="memory,sqlite,postgres")
    parser.add_argument("--jobs", type=int, default=5_000, help="a turn, in thousands")
    parser.add_argument("--turns", type=int, default=30)
    given = parser.parse_args()
    for store in given.stores.split(","):
        with ExitStack() as stack:
            counting, plain = stack.enter_context(two_sides(store))
            for side in (counting, plain):
                side.turn(1000)  # until statements are prepared
            turns: list[tuple[dict[str, float], dict[str, float]]] = []
            for number in range(given.turns):
                if number % 2:
                    without = plain.turn(given.jobs)
                    turns.append((counting.turn(given.jobs), without))
                else:
                    turns.append((counting.turn(given.jobs), plain.turn(given.jobs)))
            report(store, turns)


def report(store: str, turns: Sequence[tuple[dict[str, float], dict[str, float]]]) -> None:
    """Print each figure with the history, and its ratio to that without."""
    for name in turns[0][0]:
        ratios = [with_it[name] / without[name] for with_it, without in turns]
        low, middle, high = statistics.quantiles(ratios, n=4)
        figure = statistics.median(with_it[name] for with_it, _ in turns)
        print(
            f"{store:8} {name:27} {figure:8.2f} µs a job, ratio {middle:.3f} "
            f"({low:.3f} to {high:.3f})",
            flush=True,
        )


@contextmanager
def two_sides(store: str) -> Iterator[tuple[Side, Side]]:
    """Lend two stores of a kind; the second one counts nothing."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        cpu: Clock = time.process_time
        if store == "postgres":
            server = stack.enter_context(lent_server())
            urls = [
                stack.enter_context(fresh_schema(server, counts=each)) for each in (True, False)
            ]
            cpu = lambda: time.process_time() + server_cpu()  # noqa: E731
        elif store == "memory":
            urls = ["memory:", "memory:"]
        else:
            urls = [f"{folder}/{name}.db" for name in ("counting", "plain")]
        sides = [Side(url, cpu, counts=each) for url, each in zip(urls, (True, False), strict=True)]
        try:
            yield sides[0], sides[1]
        finally:
            for side in sides:
                side.belt.close()


@contextmanager
def no_history() -> Iterator[None]:
    """Have this process count nothing."""

    def nothing(*_args: Any, **_given: Any) -> None:
        return None

    kept = [(module, name, getattr(module, name)) for module, name in COUNTING]
    happened = MemoryData.happened
    queries = list(quick_inserts())
    texts = [query.text for query in queries]
    for module, name in COUNTING:
        setattr(module, name, nothing)
    MemoryData.happened = lambda _self, _queue: {}  # type: ignore[method-assign,assignment]
    for query in queries:
        query.text = COUNTED.sub(b"NULL, NULL", query.text)
        assert b"NULL, NULL" in query.text, query.text
    try:
        yield
    finally:
        for module, name, function in kept:
            setattr(module, name, function)
        MemoryData.happened = happened  # type: ignore[method-assign]
        for query, text in zip(queries, texts, strict=True):
            query.text = text


COUNTED = re.compile(rb"floor\(\$\d+::FLOAT8 / 60\)::BIGINT,\s+ARRAY\[[^\]]*\]")


def quick_inserts() -> Iterator[Any]:
    """Yield the statements of PostgreSQL that enqueue in one round trip."""
    if "conveyor.store.postgres.store" in sys.modules:
        from conveyor.store.postgres.statements import STATEMENTS

        for name in ("insert_unbounded", "insert_one_unbounded"):
            yield STATEMENTS[name].query


@contextmanager
def fresh_schema(server: str, *, counts: bool) -> Iterator[str]:
    """Lend a schema of its own, with the function of before if it is to count nothing."""
    import psycopg

    from conveyor.store.postgres.address import parse_address
    from conveyor.store.postgres.migrate import Migration, schemas

    schema = f"bench_{os.getpid()}_{'counting' if counts else 'plain'}"
    url = f"{server}{'&' if '?' in server else '?'}schema={schema}"
    Migration(parse_address(url)).run()
    with psycopg.connect(server, autocommit=True) as session:
        if not counts:
            first = schemas()[0]
            function = first[first.index("CREATE FUNCTION exchange_plain(") :]
            session.execute(f"SET search_path = {schema}".encode())
            session.execute(function.replace("CREATE", "CREATE OR REPLACE", 1).encode())
        try:
            yield url
        finally:
            session.execute(f"DROP SCHEMA {schema} CASCADE".encode())


@contextmanager
def lent_server() -> Iterator[str]:
    """Lend the server of BENCH_POSTGRES, or one of its own."""
    named = os.environ.get("BENCH_POSTGRES")
    if named:
        yield named
        return
    sys.path.append(str(ROOT / "tests"))
    from postgres_server import PostgresServer

    with tempfile.TemporaryDirectory(prefix="bench-pg-") as folder:
        Path(folder).chmod(0o755)
        server = PostgresServer(Path(folder))
        server.start(durable=True)
        try:
            yield server.url
        finally:
            server.stop()


def server_cpu() -> float:
    """Return the processor time of all PostgreSQL servers of this machine, in seconds."""
    total = 0
    for entry in Path("/proc").iterdir():
        try:
            stat = (entry / "stat").read_text()
        except (OSError, ValueError):
            continue
        name, _, rest = stat.partition("(")[2].rpartition(")")
        if name == "postgres":
            total += sum(map(int, rest.split()[11:15]))
    return total / TICKS


if __name__ == "__main__":
    main()
