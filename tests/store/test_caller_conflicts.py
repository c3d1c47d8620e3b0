"""`on_conflict` in the application's own transaction: what it changes, and who never waits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from callers import KINDS, Caller, opened

from conveyor import Conveyor, Job
from conveyor.core.lifecycle import Succeeded
from conveyor.store.messages import Claimant, Report, Want
from postgres_schema import Schemas

WANTS, WORKER = [Want("default", 1)], Claimant("w")


@pytest.fixture
def belt(schemas: Schemas) -> Iterator[Conveyor]:
    with schemas.one() as url:
        opened_belt = Conveyor(url)
        yield opened_belt
        opened_belt.close()


def send(to: str) -> None: ...


def call(belt: Conveyor, caller: Caller, to: str, wish: Any) -> Job[None]:
    """Enqueue a call with the one key in the transaction of a connection."""
    task = belt.task(send).using(key="cat", on_conflict=wish, connection=caller.connection)
    return caller.call(task.aenqueue(to)) if caller.in_coroutine else task.enqueue(to)


@pytest.mark.parametrize("kind", KINDS)
def test_a_waiting_holder_is_replaced_if_and_only_if_the_transaction_commits(
    schemas: Schemas, belt: Conveyor, kind: str
) -> None:
    holder = belt.task(send).using(key="cat", delay=60).enqueue("ann")
    before = holder.record
    with opened(kind, schemas.server) as caller:
        caller.begin()
        gone = call(belt, caller, "bob", "replace")
        caller.roll_back()
        assert (gone.id, gone.existing, gone.replaced) == (holder.id, True, True)
        assert holder.refresh().record == before
        with caller.transaction():
            call(belt, caller, "bob", "replace")
            assert holder.refresh().record == before
    after = holder.refresh().record
    assert (after.args, after.run_at) == (b'{"to":"bob"}', before.run_at)
    assert len(belt.jobs()) == 1


def test_a_running_holder_is_followed_by_a_job_without_a_key_and_its_worker_does_not_wait(
    schemas: Schemas, belt: Conveyor
) -> None:
    belt.task(send).using(key="cat").enqueue("ann")
    [running] = belt.store.claim(WANTS, WORKER, limit=1).result(10).jobs
    with opened("psycopg", schemas.server) as caller, caller.transaction():
        follower = call(belt, caller, "bob", "postpone")
        assert not follower.existing
        settling = belt.store.settle([Report(running.id, running.lease, Succeeded())])
        assert settling.result(10).settled == (running.id,)
    assert follower.record.options.key is None
    assert not belt.task(send).using(key="cat").enqueue("eve").existing


def test_workers_pass_over_a_job_that_an_open_transaction_replaces(
    schemas: Schemas, belt: Conveyor
) -> None:
    holder = belt.task(send).using(key="cat").enqueue("ann")
    with opened("psycopg", schemas.server) as caller, caller.transaction():
        call(belt, caller, "bob", "replace")
        assert belt.store.claim(WANTS, WORKER, limit=1).result(10).jobs == ()
    [job] = belt.store.claim(WANTS, WORKER, limit=1).result(10).jobs
    assert (job.id, job.args) == (holder.id, b'{"to":"bob"}')
