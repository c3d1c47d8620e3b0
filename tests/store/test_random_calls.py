"""Calls of every kind by several processes at once, on PostgreSQL: no deadlock reaches a caller."""

from __future__ import annotations

import os
from time import monotonic

import psycopg
import pytest
from random_calls import BOUNDED, EVERY, QUEUES, WORKERS, call_at_random, labels_of

from conveyor.core.job import State
from conveyor.core.lifecycle import Succeeded
from conveyor.core.pending import run_sync
from conveyor.store.call_style import BlockingCalls
from conveyor.store.messages import Claimant, Filter, Report, Want
from conveyor.store.page_walk import read_queues
from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.store import PostgresStore

WAITING = frozenset({State.SCHEDULED, State.RETRYABLE})
# How long the long form runs, in seconds.
LONG = float(os.environ.get("CONVEYOR_TEST_RANDOM_CALLS", "3600"))


def used_queues(store: PostgresStore) -> list[str]:
    """Return the queues that have jobs."""
    queues = run_sync(read_queues(BlockingCalls(), store))
    return [each.name for each in queues if any(each.counts.values())]


def finish(url: str, group: int = 0) -> None:
    """Run all that is left, which proves that nothing is stuck."""
    store = PostgresStore(url)
    for queue in QUEUES:
        store.set_paused(queue, paused=False).result()
    claimant = Claimant("last", 60.0, labels_of(group))
    for _ in range(1000):
        for waiting in store.find(Filter(states=WAITING), limit=1000).result():
            store.cancel(waiting.id, reason="the end").result()
        store.rescue(dead=WORKERS, limit=1000).result()
        wants = [Want(queue, 100) for queue in {*QUEUES, *BOUNDED, *used_queues(store)}]
        jobs = store.claim(wants, claimant, limit=100).result().jobs
        store.settle([Report(job.id, job.lease, Succeeded()) for job in jobs]).result()
        store.prune(EVERY, limit=1000).result()
        if not used_queues(store):
            break
    assert used_queues(store) == []
    assert store.check().result() == []
    store.close()


def deadlocks(url: str) -> int:
    with psycopg.connect(parse_address(url).server) as session:
        [(count,)] = session.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ).fetchall()
    return int(count)


def test_calls_of_every_kind_at_once_are_all_answered(url: str) -> None:
    assert call_at_random(url, range(3), 120) == []
    finish(url)


@pytest.mark.slow
def test_calls_of_every_kind_for_an_hour_meet_no_deadlock_that_a_caller_sees(url: str) -> None:
    until = monotonic() + LONG
    before, first = deadlocks(url), 0
    while monotonic() < until:
        assert call_at_random(url, range(first, first + 4), 3000) == []
        finish(url, first // 4)
        first += 4
    print(f"{deadlocks(url) - before} deadlocks in {LONG:.0f} s, {first // 4 * 12_000} calls")
