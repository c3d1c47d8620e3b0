"""A PostgreSQL server that crashes under load loses no job that was accepted, and doubles none."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import pytest
from calls import claim, counted, new, put, settle

from conveyor.core.job import State
from conveyor.core.lifecycle import Succeeded
from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.migrate import Migration
from conveyor.store.postgres.store import PostgresStore
from postgres_server import PostgresServer


@pytest.fixture(autouse=True)
def running(server: PostgresServer) -> None:
    server.start(durable=True)


def has_grown(ids: list[str], goal: int) -> bool:
    return len(ids) >= goal


def test_what_was_accepted_before_and_during_a_crash_is_there_once(
    server: PostgresServer, until: Callable[[Callable[[], object]], None]
) -> None:
    url = f"{server.url}&schema=crash"
    Migration(parse_address(url)).run()
    store = PostgresStore(url)
    accepted: list[list[str]] = [[], [], []]
    settled: list[str] = []
    stop = threading.Event()

    def produce(ids: list[str], capacity: int | None) -> None:
        while not stop.is_set():
            ids += put(store, new(queue="q" if capacity is None else "b"), capacity=capacity)

    def work() -> None:
        while not stop.is_set():
            settled.extend(job.id for job in claim(store, 5) if settle(store, job, Succeeded()))

    calls = [(accepted[0], None), (accepted[1], None), (accepted[2], 100_000)]
    threads = [threading.Thread(target=produce, args=call) for call in calls]
    threads.append(threading.Thread(target=work))
    for thread in threads:
        thread.start()
    for how in (signal.SIGQUIT, signal.SIGQUIT, signal.SIGINT):
        goals = [len(ids) + 5 for ids in (*accepted, settled)]
        until(lambda goals=goals: all(map(has_grown, (*accepted, settled), goals)))
        server.stop(how)
        server.start(durable=True)
    stop.set()
    for thread in threads:
        thread.join()
    found = counted(store)
    assert found["b"][State.AVAILABLE] == len(set(accepted[2])) == len(accepted[2])
    assert found["q"][State.COMPLETED] == len(set(settled)) == len(settled)
    unbounded = accepted[0] + accepted[1]
    assert sum(found["q"].values()) == len(set(unbounded)) == len(unbounded)
    assert set(settled) <= set(unbounded)
    assert store.check().result() == []
    store.close()
