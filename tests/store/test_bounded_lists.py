"""Lists and counts look at a bounded number of jobs, and say so; the specification looks at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from calls import claim, new, put, settle

from conveyor.core.bulk import COUNTED
from conveyor.core.job import ErrorInfo, NewJob, State
from conveyor.core.lifecycle import Failed, Succeeded
from conveyor.core.pending import run_sync
from conveyor.store.call_style import BlockingCalls
from conveyor.store.messages import LOOKED_AT, SEARCHED, Filter, Report
from conveyor.store.page_walk import read_jobs
from conveyor.store.sqlite.store import SqliteStore

MANY = 2 * LOOKED_AT + 500


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    """Two jobs at the beginning, one of which has failed, and 20,500 others after them."""
    path: Path = tmp_path_factory.mktemp("bounded") / "jobs.db"
    opened = SqliteStore(path, durability="normal")
    put(opened, new(id="first", queue="rare", task="rare", args=b'{"a":"needle"}'))
    put(opened, new(id="failed", queue="rare", task="rare"))
    for job in claim(opened, 2, queue="rare"):
        settle(opened, job, Succeeded() if job.id == "first" else Failed(ErrorInfo("E", "x")))
    opened.insert([NewJob(id=f"many-{n}", task="many", queue="q") for n in range(MANY)]).result(60)
    done = claim(opened, LOOKED_AT + 100)
    while len(done) < LOOKED_AT + 100:
        done += claim(opened, LOOKED_AT + 100 - len(done))
    opened.settle([Report(job.id, job.lease, Succeeded()) for job in done]).result(60)
    yield opened
    opened.close()


def test_a_search_stops_after_so_many_jobs_and_goes_on_from_there(store: SqliteStore) -> None:
    which = Filter(task="rare", states=frozenset({State.COMPLETED}))
    page = store.find(which, limit=10).result()
    assert (list(page), page.more) == ([], True)
    assert page.next == MANY + 2 - LOOKED_AT + 1
    found = run_sync(read_jobs(BlockingCalls(), store, which, limit=10))
    assert [job.id for job in found] == ["first"]
    assert not found.more


def test_a_search_in_arguments_looks_at_fewer_jobs(store: SqliteStore) -> None:
    page = store.find(Filter(text="needle"), limit=10).result()
    assert (list(page), page.next) == ([], MANY + 2 - SEARCHED + 1)
    oldest = store.find(Filter(text="needle", oldest_first=True), limit=10).result()
    assert ([job.id for job in oldest], oldest.next) == (["first"], SEARCHED)


def test_jobs_of_a_rare_state_or_failure_are_found_at_once(store: SqliteStore) -> None:
    page = store.find(Filter(task="rare", states=frozenset({State.DISCARDED})), limit=10).result()
    assert ([job.id for job in page], page.more) == (["failed"], False)
    [group] = store.failures().result().groups
    page = store.find(Filter(error=group.fingerprint), limit=10).result()
    assert ([job.id for job in page], page.more) == (["failed"], False)


def test_counts_end_at_their_limit_and_say_what_they_have_not_looked_at(store: SqliteStore) -> None:
    kept = store.job_counts(Filter(queue="q")).result()
    assert kept.counts[State.COMPLETED] == COUNTED
    assert (kept.is_capped, kept.is_complete) == (True, True)
    looked = store.job_counts(Filter(task="many")).result()
    assert (looked.is_complete, looked.looked_at) == (False, LOOKED_AT)
    assert looked.counts[State.DISCARDED] == 0
    rare = store.job_counts(Filter(task="rare", states=frozenset({State.DISCARDED}))).result()
    assert rare.counts == {State.DISCARDED: 1}
    assert (rare.is_complete, rare.looked_at) == (True, None)


def test_an_action_passes_what_does_not_match_in_bounded_steps(store: SqliteStore) -> None:
    which = Filter(task="rare", states=frozenset({State.COMPLETED}))
    upto = store.match(which, "delete").result().upto
    steps = []
    before = None
    for _ in range(9):
        place = Filter(task="rare", states=which.states, before=before)
        steps.append(store.act(place, upto=upto, action="delete", reason="").result())
        before = steps[-1].next
        if before is None:
            break
    assert [step.changed for step in steps] == [0, 0, 1]
    assert steps[-1].jobs == (("first", "deleted"),)
