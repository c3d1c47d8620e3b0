"""The history agrees exactly with the jobs, whatever several processes do at the same time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from calls import new, put
from random_calls import Caller, call_at_random

from conveyor.core.history import COUNTERS
from conveyor.core.job import FINAL, State
from conveyor.store.memory.store import MemoryStore
from conveyor.store.open import open_store
from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.connection import Connection
from conveyor.store.postgres.store import PostgresStore
from conveyor.store.protocol import Store
from postgres_schema import Admin


def totals(store: Store, queue: str) -> dict[str, int]:
    points = store.queue_history(queue).result(60).points
    return {name: sum(getattr(point, name) for point in points) for name in COUNTERS}


def disagreements(store: Store) -> list[str]:
    """Return what the history says that cannot be, by the jobs that are not final.

    A job that entered a queue is still there, or it has ended; an attempt that started still runs,
    or it has ended.
    """
    wrong: list[str] = []
    for queue in store.counts().result(60):
        happened = totals(store, queue.name)
        ended = sum(happened[state] for state in FINAL)
        there = sum(number for state, number in queue.counts.items() if state not in FINAL)
        if happened["enqueued"] - ended != there:
            wrong.append(f"{queue.name}: {happened}, and {there} jobs are there")
        running = queue.counts.get(State.RUNNING, 0)
        sure = running + sum(happened[name] for name in ("completed", "retried", "returned"))
        most = sure + happened["discarded"] + happened["cancelled"]
        if not sure <= happened["started"] <= most:
            wrong.append(f"{queue.name}: {happened}, and {running} run")
    return wrong


def test_it_agrees_in_a_file_that_several_processes_use(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}?durability=normal"
    assert call_at_random(url, range(3), 150) == []
    store = open_store(url)
    assert disagreements(store) == []
    assert sum(totals(store, each.name)["started"] for each in store.counts().result()) > 20
    store.close()


def test_it_agrees_in_memory_that_several_threads_use() -> None:
    store = MemoryStore()
    callers = [Caller(store, seed) for seed in range(3)]

    def call(caller: Caller) -> None:
        for _ in range(300):
            caller.call()

    threads = [threading.Thread(target=call, args=(each,)) for each in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [error for each in callers for error in each.errors] == []
    assert disagreements(store) == []


def test_it_agrees_on_postgresql_before_and_after_it_is_added_up(url: str, admin: Admin) -> None:
    assert call_at_random(url, range(3), 120) == []
    store = PostgresStore(url)
    assert disagreements(store) == []
    before = {each.name: totals(store, each.name) for each in store.counts().result()}
    connection = Connection(parse_address(url))
    store._driver._opened.notifier._add_up(connection)  # type: ignore[attr-defined]
    connection.close()
    assert admin.run(f"SELECT count(*) FROM {admin.schema}.tally") == [(0,)]
    assert {each.name: totals(store, each.name) for each in store.counts().result()} == before
    assert sum(each["started"] for each in before.values()) > 20
    store.close()


@pytest.mark.parametrize("wrong", ["a job too many", "a start too few"])
def test_the_comparison_notices_a_wrong_history(wrong: str) -> None:
    store = MemoryStore()
    put(store, new())
    counts = store._memory.happened("q")
    slot = COUNTERS.index("enqueued" if wrong == "a job too many" else "returned")
    counts[slot] = counts.get(slot, 0) + 1
    assert disagreements(store) != []
