"""Sessions and servers of PostgreSQL that are killed under load lose, double and strand nothing."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from contextlib import suppress
from statistics import median
from time import monotonic, sleep

import psycopg
import pytest
from calls import new, put
from load_ledger import Load, missing, rate

from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.migrate import Migration
from conveyor.store.postgres.store import PostgresStore
from postgres_server import PostgresServer

Until = Callable[[Callable[[], object]], None]
Fault = Callable[[PostgresServer], None]
OURS = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'conveyor %' ORDER BY random()"
# How long the rate is measured, how long a server has to reach it again, in seconds, and how much
# of it: after most faults, and after each, because the speed of a machine varies by itself.
MEASURED, RECOVERY, REACHED, LEAST = 5.0, 10.0, 0.95, 0.8


def prepared(server: PostgresServer) -> str:
    url = f"{server.url}&schema=killed"
    Migration(parse_address(url)).run()
    with psycopg.connect(server.url, autocommit=True) as session:
        session.execute("CHECKPOINT")
    return url


def loaded(server: PostgresServer, until: Until) -> tuple[str, Load]:
    """Start the server and its load; return the store's URL, and the load once all take part."""
    server.start(durable=True)
    url = prepared(server)
    load = Load(lambda: PostgresStore(url))
    load.start()
    until(lambda: len(load.progress()) == 6)
    return url, load


def run(server: PostgresServer, statement: str) -> list[tuple[int]]:
    """Run a statement, once the server has recovered from the last fault."""
    deadline = monotonic() + 60
    while True:
        try:
            with psycopg.connect(server.url, autocommit=True) as session:
                return session.execute(statement.encode()).fetchall()
        except psycopg.OperationalError:
            assert monotonic() < deadline
            sleep(0.01)


def end_session(server: PostgresServer) -> None:
    run(server, f"SELECT pg_terminate_backend(pid)::INT FROM ({OURS} LIMIT 2) AS chosen")


def kill_backend(server: PostgresServer) -> None:
    """Kill one session's process, so the server ends all the others, and recovers."""
    for (pid,) in run(server, f"{OURS} LIMIT 1"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def crash(server: PostgresServer) -> None:
    server.stop(signal.SIGQUIT)
    server.start(durable=True)


def restart(server: PostgresServer) -> None:
    server.stop(signal.SIGINT)
    server.start(durable=True)


def await_progress(load: Load, until: Until) -> None:
    """Wait until every producer and every worker has done something more."""
    before = load.progress()
    until(lambda: load.errors or all(a > b for a, b in zip(load.progress(), before, strict=True)))


def test_sessions_that_are_ended_and_killed_lose_and_double_nothing(
    server: PostgresServer, until: Until
) -> None:
    url, load = loaded(server, until)
    for fault in (end_session, kill_backend, end_session):
        await_progress(load, until)
        fault(server)
    await_progress(load, until)
    load.finish()
    store = PostgresStore(url)
    load.check(store)
    store.close()


@pytest.mark.slow
@pytest.mark.alone
def test_the_rate_is_reached_again_soon_after_each_fault(
    server: PostgresServer, until: Until
) -> None:
    url, load = loaded(server, until)
    await_progress(load, until)
    faults = [end_session, kill_backend, crash, restart] * 2
    random.Random(3).shuffle(faults)
    reached: list[tuple[str, float]] = []
    for fault in faults:
        before = rate(load, MEASURED, sleep)
        fault(server)
        windows = [rate(load, 2.0, sleep) for _ in range(int(RECOVERY / 2))]
        reached.append((fault.__name__, max(windows) / before))
    load.finish()
    store = PostgresStore(url)
    load.check(store)
    store.close()
    print(*reached, sep="\n")
    assert median(part for _, part in reached) >= REACHED
    assert min(part for _, part in reached) >= LEAST


# -- known-bad control -----------------------------------------------------------------------------


def test_a_server_that_confirms_before_it_writes_is_found_out(server: PostgresServer) -> None:
    with (server.folder / "data/postgresql.conf").open("a") as settings:
        settings.write("wal_writer_delay = 10s\n")
    server.start(durable=False)
    url = prepared(server)
    lost: list[str] = []
    for turn in range(20):
        store = PostgresStore(url)
        ids = [job for number in range(20) for job in put(store, new(id=f"{turn}-{number}"))]
        server.stop(signal.SIGQUIT)
        server.start(durable=False)
        lost += missing(store, ids)
        store.close()
        if lost:
            break
    assert lost
