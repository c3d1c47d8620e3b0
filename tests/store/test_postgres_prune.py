"""How old jobs are deleted from PostgreSQL: in batches, by one process at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import psycopg
import pytest
from calls import BROKEN, claim, counted, new, put, settle

from conveyor.core.files import InputFile
from conveyor.core.job import OutputChunk, State
from conveyor.core.lifecycle import Succeeded
from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.statements import STATEMENTS
from conveyor.store.postgres.store import PostgresStore
from conveyor.testing import FakeClock
from postgres_schema import Admin

KEPT = {State.COMPLETED: 10.0, State.DISCARDED: 10.0}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(url: str, clock: FakeClock) -> Iterator[PostgresStore]:
    opened = PostgresStore(url, clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def admin(url: str) -> Iterator[Admin]:
    admin = Admin(url)
    yield admin
    admin.session.close()


def finish(store: PostgresStore, count: int) -> list[str]:
    """Complete so many jobs; returns their ids."""
    ids = put(store, *(new() for _ in range(count)))
    for job in claim(store, count):
        assert settle(store, job, Succeeded())
    return ids


def test_a_batch_is_followed_by_the_next_until_none_is_left(
    store: PostgresStore, clock: FakeClock, admin: Admin
) -> None:
    finish(store, 7)
    clock.advance(11)
    finish(store, 1)
    assert [prune(store) for _ in range(4)] == [3, 3, 1, 0]
    assert left(store, admin) == 1


def test_a_job_that_ended_before_those_deleted_last_is_deleted_in_the_end(
    store: PostgresStore, clock: FakeClock, admin: Admin
) -> None:
    finish(store, 7)
    clock.advance(11)
    assert prune(store) == 3
    # As if another session had held it meanwhile.
    admin.run(f"UPDATE {admin.schema}.final SET final_at = final_at - 5 WHERE seq = 7")
    assert [prune(store) for _ in range(4)] == [3, 1, 0, 0]


def test_no_row_that_belonged_to_a_deleted_job_is_left(
    store: PostgresStore, clock: FakeClock, admin: Admin
) -> None:
    digest = hashlib.sha256(b"x").hexdigest()
    store.write_content(digest, 0, b"x", last=True).result()
    given = InputFile(name="x", digest=digest, size=1, executable=False)
    put(store, new(key="k", key_until="pruned", files=(given,)))
    [job] = claim(store)
    chunk = OutputChunk(
        job_id=job.id, lease=job.lease, offset=0, stream="stdout", at=1.0, data=b"out"
    )
    store.write_output([chunk]).result()
    assert settle(store, job, BROKEN)
    tables = ("body", "final", "held_key", "output", "attempt_error", "file")
    assert [rows_of(admin, each) for each in tables] == [1] * len(tables)
    clock.advance(11)
    assert prune(store) == 1
    assert [rows_of(admin, each) for each in tables] == [0] * len(tables)


def test_jobs_of_several_states_share_a_batch(
    store: PostgresStore, clock: FakeClock, admin: Admin
) -> None:
    finish(store, 2)
    put(store, new(), new())
    for job in claim(store, 2):
        assert settle(store, job, BROKEN)
    clock.advance(11)
    assert [prune(store), prune(store)] == [3, 1]
    assert left(store, admin) == 0


def test_only_one_process_deletes_at_a_time(
    store: PostgresStore, clock: FakeClock, admin: Admin, url: str
) -> None:
    finish(store, 2)
    clock.advance(11)
    with psycopg.connect(parse_address(url).server) as other:
        other.execute(f"SET LOCAL search_path = {admin.schema}")
        [(is_first,)] = other.execute(STATEMENTS["try_to_prune"].text).fetchall()
        assert is_first
        assert prune(store) == 0
        assert left(store, admin) == 2
    assert prune(store) == 2


def prune(store: PostgresStore) -> int:
    return store.prune(KEPT, limit=3).result()


def left(store: PostgresStore, admin: Admin) -> int:
    """Return how many final jobs are counted; as many are in the tables."""
    there = {rows_of(admin, "final"), rows_of(admin, "body")}
    counts = counted(store)["q"]
    assert there == {counts[State.COMPLETED] + counts[State.DISCARDED]}
    return there.pop()


def rows_of(admin: Admin, table: str) -> int:
    return int(admin.run(f"SELECT count(*) FROM {admin.schema}.{table}")[0][0])
