"""Measure whether PostgreSQL's tables stay fast as they age: `python bench/postgres/age.py`.

First the time of an exchange (a hundred jobs settled and a hundred claimed) with 1,000 waiting
jobs, with many waiting ones, and with many finished ones. Then a load: `--jobs` jobs go through,
old ones are deleted after `--keep` seconds, and each interval prints the time of exchanges, the
dead rows and the sizes of tables. For `--hold` seconds of it another transaction keeps its
snapshot, so that no dead row can be removed. The server is a private one with fsync and
autovacuum, of version 18 or newer. Finished jobs need 350 bytes of disk each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from rows import ROOT, print_machine

from conveyor.core.ids import IdMaker
from conveyor.core.job import NewJob, State
from conveyor.core.lifecycle import Succeeded
from conveyor.maintenance.pruner import Pruner
from conveyor.store.messages import Claimant, Report, Want
from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.migrate import Migration
from conveyor.store.postgres.store import PostgresStore

SETTINGS = (
    *("autovacuum=on", "shared_buffers=512MB", "maintenance_work_mem=512MB"),
    *("max_wal_size=1GB", "wal_level=minimal", "max_wal_senders=0"),
)
BATCH, BULK, CHUNK = 100, 1000, 1_000_000
BACKLOG = 20_000
LIMIT = 7200.0
# Names for many jobs at once, shorter than those of the product to save disk.
BODY = """INSERT INTO body (seq, priority, enqueued_at, checksum, id, task, options, args)
SELECT n, 0, 0, crc32(convert_to(lpad(to_hex(n), 16, '0'), 'UTF8') || '\\x00' || 'noop{{}}{{}}'),
    lpad(to_hex(n), 16, '0'), 'noop', '{{}}', '{{}}'
FROM generate_series({first}::BIGINT, {last}) AS n"""
READY = """INSERT INTO ready (lane, rank, run_at, seq, size, id)
SELECT 1, -1, 0, n, 4, lpad(to_hex(n), 16, '0')
FROM generate_series({first}::BIGINT, {last}) AS n"""
# Younger than they are kept.
FINAL = """INSERT INTO final (lane, run_at, seq, attempt, lease, crashes, final_at, started_at,
    state)
SELECT 1, 0, n, 1, 1, 0, extract(epoch FROM clock_timestamp()) - 3600 + n * 1e-6, 0, 'completed'
FROM generate_series({first}::BIGINT, {last}) AS n"""
# Built once all rows are there, which takes a fraction of the time.
INDEXES = {
    "ALTER TABLE body DROP CONSTRAINT body_pkey": "CREATE UNIQUE INDEX body_pkey ON body (seq)",
    "ALTER TABLE body DROP CONSTRAINT body_id_key": "CREATE UNIQUE INDEX body_id_key ON body (id)",
    "ALTER TABLE final DROP CONSTRAINT final_pkey": "CREATE UNIQUE INDEX final_pkey ON final (seq)",
    "DROP INDEX final_old": "CREATE INDEX final_old ON final (state, final_at)",
}
WATCHED = ("ready", "running", "final", "body", "tally", "commit_mark")


def main() -> None:
    """Run both parts and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waiting", type=int, default=10_000_000)
    parser.add_argument("--finished", type=int, default=50_000_000)
    parser.add_argument("--probes", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=20_000_000)
    parser.add_argument(
        "--minutes", type=float, default=20.0, help="the load ends then at the latest"
    )
    parser.add_argument("--rate", type=float, default=0.0, help="jobs per second; 0: all it can")
    parser.add_argument("--keep", type=float, default=60.0)
    parser.add_argument(
        "--hold", type=float, default=0.0, help="seconds, from a third of the load on"
    )
    parser.add_argument("--interval", type=float, default=30.0)
    parser.add_argument("--folder", default=None, help="where the server has its files")
    given = parser.parse_args()
    with private_server(SETTINGS, given.folder) as server:
        print_machine(server)
        if given.waiting or given.finished:
            with schema(server, "aging") as url, schema(server, "young") as control:
                history(url, control, given)
        if given.jobs:
            with schema(server, "load") as url:
                load(url, given)


# -- exchanges beside many rows -------------------------------------------------------------------


def history(url: str, control: str, given: argparse.Namespace) -> None:
    """Print the time of exchanges beside many jobs, in turns with those of the other schema."""
    aging, young = PostgresStore(url), PostgresStore(control)
    session = psycopg.connect(parse_address(url).server, autocommit=True)
    session.execute(f"SET search_path = {parse_address(url).schema}")
    print(
        "| in the tables | 100 at once: p50, p99 ms | beside 1,000: p50, p99 ms | ratio of p50 "
        "| one: p50, p99 ms | beside 1,000: p50, p99 ms | ratio of p50 | database GB |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    try:
        for store in (aging, young):
            put(store, 1000)  # makes the queue and its lane
        show(aging, young, session, "1,000 waiting", given.probes)
        if given.waiting:
            first = 1 + next_seq(session)
            fill(session, [BODY, READY], first, given.waiting)
            session.execute("VACUUM ANALYZE body, ready")
            show(aging, young, session, f"{given.waiting:,} waiting", given.probes)
        session.execute("TRUNCATE body, ready, running, later, final")
        for drop in INDEXES:
            session.execute(drop.encode())
        fill(session, [BODY, FINAL], 1 + next_seq(session), given.finished)
        at_once(session, INDEXES.values())
        session.execute("VACUUM ANALYZE body, final, ready, running")
        put(aging, 1000)
        show(aging, young, session, f"{given.finished:,} finished", given.probes)
    finally:
        session.close()
        aging.close()
        young.close()


def fill(session: psycopg.Connection[Any], texts: Sequence[str], first: int, count: int) -> None:
    """Insert rows with so many numbers into each table."""
    began, last = time.monotonic(), first + count - 1
    for start in range(first, last + 1, 4 * CHUNK):
        parts = [
            text.format(first=part, last=min(last, part + CHUNK - 1))
            for part in range(start, min(last + 1, start + 4 * CHUNK), CHUNK)
            for text in texts
        ]
        at_once(session, parts)
    session.execute("SELECT setval('job_seq', %s)", [last])
    print(f"filled in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def at_once(session: psycopg.Connection[Any], statements: Iterable[str]) -> None:
    """Run statements in sessions of their own, like this one."""
    [(path,)] = session.execute("SHOW search_path").fetchall()

    def run(statement: str) -> None:
        with psycopg.connect(session.info.dsn, autocommit=True) as own:
            own.execute(f"SET search_path = {path}".encode())
            own.execute(statement.encode())

    with ThreadPoolExecutor() as threads:
        for _ in threads.map(run, statements):
            pass


def next_seq(session: psycopg.Connection[Any]) -> int:
    [(seq,)] = session.execute("SELECT nextval('job_seq')").fetchall()
    return int(seq)


def show(
    aging: PostgresStore,
    young: PostgresStore,
    session: psycopg.Connection[Any],
    what: str,
    probes: int,
) -> None:
    """Print the times of exchanges, whose jobs are replaced by as many new ones."""
    cells = [what]
    for size in (BATCH, 1):
        took: dict[PostgresStore, list[float]] = {aging: [], young: []}
        reports: dict[PostgresStore, list[Report]] = {aging: [], young: []}
        for _ in range(probes):
            for store, times in took.items():
                began = time.perf_counter()
                reports[store] = exchange(store, reports[store], size)
                times.append(time.perf_counter() - began)
                put(store, size)
        for store, left in reports.items():
            exchange(store, left, 0)
        cells += [
            f"{1000 * share(times, 0.5):.2f}, {1000 * share(times, 0.99):.2f}"
            for times in took.values()
        ]
        cells.append(f"{share(took[aging], 0.5) / share(took[young], 0.5):.2f}")
    [(size_now,)] = session.execute("SELECT pg_database_size(current_database())").fetchall()
    print(f"| {' | '.join(cells)} | {size_now / 1e9:.1f} |", flush=True)


# -- a load ---------------------------------------------------------------------------------------


def load(url: str, given: argparse.Namespace) -> None:
    """Print how exchanges and tables do while jobs go through."""
    until = time.time() + 60 * given.minutes
    jobs = str(given.jobs)
    consumer = start("consume", url, jobs, str(until), str(given.keep), str(given.interval))
    producer = start("produce", url, jobs, str(until), str(given.rate))
    names = " | ".join(f"{each}: dead k, MB" for each in WATCHED)
    print(
        f"\n| s | jobs/s | exchange p50, p99 ms | {names} |\n|--:|--:|--:|{'--:|' * len(WATCHED)}"
    )
    began, hold_from, total = time.time(), 60 * given.minutes / 3, 0
    holder: psycopg.Connection[Any] | None = None
    with psycopg.connect(parse_address(url).server, autocommit=True) as session:
        assert consumer.stdout is not None
        for line in consumer.stdout:
            seen = json.loads(line)
            total += seen["jobs"]
            at = time.time() - began
            is_held = given.hold and hold_from <= at < hold_from + given.hold
            if is_held and holder is None:
                holder = psycopg.connect(parse_address(url).server)
                holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                holder.execute("SELECT pg_current_xact_id()")
            elif holder is not None and not is_held:
                holder.close()
                holder = None
            tables = " | ".join(sizes(session, parse_address(url).schema))
            print(
                f"| {at:.0f}{' held' if is_held else ''} | {seen['jobs'] / seen['seconds']:,.0f} "
                f"| {seen['p50']:.2f}, {seen['p99']:.2f} | {tables} |",
                flush=True,
            )
    if holder is not None:
        holder.close()
    for each in (producer, consumer):
        if each.wait(60) != 0:
            sys.exit("a process of the load has failed")
    print(f"{total:,} jobs went through")


def start(role: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, role, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def produce(url: str, jobs: int, until: float, rate: float) -> None:
    """Enqueue so many jobs, while few wait, and at this rate if there is one."""
    store, began, count = PostgresStore(url), time.time(), 0
    bulk = BULK if not rate else max(1, min(BULK, int(rate / 10)))
    while count < jobs and time.time() < until:
        if rate and count > rate * (time.time() - began):
            time.sleep(0.01)
        elif count and count % (10 * bulk) == 0 and depth(store) > BACKLOG:
            time.sleep(0.05)
        else:
            put(store, min(bulk, jobs - count))
            count += min(bulk, jobs - count)
    store.close()


def consume(url: str, jobs: int, until: float, keep: float, interval: float) -> None:
    """Exchange until all jobs are done, while a thread prunes; print each interval's figures."""
    store, done, reports = PostgresStore(url), 0, list[Report]()
    stopped = threading.Event()
    pruning = threading.Thread(target=lambda: asyncio.run(prune(url, keep, stopped)))
    pruning.start()
    took: list[float] = []
    counted, began = 0, time.monotonic()
    while done < jobs and time.time() < until:
        sent = time.perf_counter()
        settled, reports = len(reports), exchange(store, reports, BATCH)
        took.append(time.perf_counter() - sent)
        done, counted = done + settled, counted + settled
        if not reports:
            time.sleep(0.001)
        seconds = time.monotonic() - began
        if seconds >= interval or done >= jobs:
            p50, p99 = 1000 * share(took, 0.5), 1000 * share(took, 0.99)
            figures = {"jobs": counted, "seconds": seconds, "p50": p50, "p99": p99}
            print(json.dumps(figures), flush=True)
            took, counted, began = [], 0, time.monotonic()
    stopped.set()
    pruning.join()
    store.close()


async def prune(url: str, keep: float, stopped: threading.Event) -> None:
    """Do what a worker's maintenance does with old jobs."""
    store = PostgresStore(url)
    pruner = Pruner(store, retention={State.COMPLETED: keep}, elapsed=time.monotonic)
    while not stopped.is_set():
        await pruner.prune_if_due()
        await asyncio.sleep(1)
    store.close()


def sizes(session: psycopg.Connection[Any], schema: str) -> Iterator[str]:
    for table in WATCHED:
        [(dead, size)] = session.execute(
            "SELECT n_dead_tup, pg_total_relation_size(relid) FROM pg_stat_user_tables "
            "WHERE schemaname = %s AND relname = %s",
            (schema, table),
        ).fetchall()
        yield f"{dead / 1000:,.0f}, {size / 1e6:,.0f}"


# -- what both use --------------------------------------------------------------------------------

IDS = IdMaker()
ME = Claimant("age", 600.0)


def put(store: PostgresStore, count: int) -> None:
    now = time.time()
    jobs = [NewJob(id=IDS.make(now), task="noop", queue="q", args=b"{}") for _ in range(count)]
    store.insert(jobs).result(LIMIT)


def exchange(store: PostgresStore, reports: Sequence[Report], limit: int) -> list[Report]:
    """Settle jobs and claim others; returns the reports of those."""
    wants = [Want("q", limit)] if limit else []
    answer = store.exchange(reports, wants, ME, limit=limit).result(LIMIT)
    return [Report(job.id, job.lease, Succeeded(b"null")) for job in answer.jobs]


def depth(store: PostgresStore) -> int:
    return store.queue_info("q").result(LIMIT).depth


def share(took: Sequence[float], part: float) -> float:
    ordered = sorted(took)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


@contextmanager
def private_server(settings: Sequence[str], folder: str | None = None) -> Iterator[str]:
    """Start a server with fsync; yields its URL."""
    sys.path.insert(0, str(ROOT / "tests"))
    from postgres_server import PostgresServer

    place = Path(tempfile.mkdtemp(prefix="bench-age-", dir=folder))
    place.chmod(0o755)
    try:
        server = PostgresServer(place)
        server.start(durable=True, settings=settings)
        try:
            yield server.url
        finally:
            server.stop()
    finally:
        shutil.rmtree(place)


@contextmanager
def schema(server: str, name: str) -> Iterator[str]:
    """Make a schema; yields the URL of the store in it."""
    url = f"{server}&schema={name}"
    Migration(parse_address(url)).run()
    try:
        yield url
    finally:
        with psycopg.connect(server, autocommit=True) as session:
            session.execute(f"DROP SCHEMA {name} CASCADE")


if __name__ == "__main__":
    if sys.argv[1:2] == ["produce"]:
        produce(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))
    elif sys.argv[1:2] == ["consume"]:
        consume(sys.argv[2], int(sys.argv[3]), *map(float, sys.argv[4:]))
    else:
        main()
