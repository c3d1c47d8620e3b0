"""Old code on a newer schema, new code on an older one, and migrations while workers run."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from calls import claim, counted, new, put, settle

from conveyor import Conveyor
from conveyor.core.job import State
from conveyor.core.lifecycle import Succeeded
from conveyor.errors import StoreVersionError, UnavailableError
from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.connection import Connection
from conveyor.store.postgres.migrate import (
    Migration,
    check_version,
    migration_script,
    oldest_code,
)
from conveyor.store.postgres.migrate import (
    schemas as schema_files,
)
from conveyor.store.postgres.store import PostgresStore
from postgres_schema import Schemas

NEWEST = len(schema_files())
# A step that a later version could make: new columns, a new table and index, and another type of a
# column that prepared statements have in their answers.
STEP = f"""-- compatible with {NEWEST}
ALTER TABLE queue ADD COLUMN note TEXT;
ALTER TABLE worker ADD COLUMN place TEXT NOT NULL DEFAULT '';
ALTER TABLE schedule ALTER COLUMN cron TYPE VARCHAR;
CREATE TABLE extra (id BIGINT PRIMARY KEY);
CREATE INDEX schedule_next ON schedule (next_at);
"""
STEPS = (*schema_files(), STEP)
INCOMPATIBLE = (*schema_files(), STEP.partition("\n")[2])


@pytest.fixture
def url(schemas: Schemas) -> Iterator[str]:
    """Return the URL of a schema that no other test uses later, as it is changed."""
    url = f"{schemas.server}&schema=steps_{os.getpid()}"
    Migration(parse_address(url)).run()
    yield url
    with psycopg.connect(schemas.server, autocommit=True) as session:
        session.execute(f"DROP SCHEMA {parse_address(url).schema} CASCADE".encode())


def migration(url: str, steps: tuple[str, ...] = STEPS, **given: float) -> Migration:
    return Migration(parse_address(url), steps=steps, **given)


def test_every_step_is_compatible_with_the_version_before() -> None:
    for number in range(2, NEWEST + 1):
        assert oldest_code(schema_files()[:number]) < number, "see migrate.py"


def test_processes_of_the_version_before_run_on_while_the_schema_is_migrated(url: str) -> None:
    old = PostgresStore(url)
    for _ in range(9):  # until statements are prepared
        put(old, new(), new(key="k"))
        assert settle(old, claim(old)[0], Succeeded())
        assert old.schedules().result() == []
    assert migration(url).run() == (NEWEST, NEWEST + 1)
    for number in range(9):
        put(old, new(key=f"after-{number}"), new())
        put(old, new(queue=f"q{number}"))
    assert old.schedules().result() == []
    done = [settle(old, job, Succeeded()) for job in claim(old, 99)]
    assert all(done)
    started_later = PostgresStore(url)
    put(started_later, new())
    assert len(claim(started_later)) == 1
    assert started_later.check().result() == []
    assert counted(old)["q"][State.COMPLETED] == 9 + len(done)
    started_later.close()
    old.close()


def test_a_worker_of_the_version_before_runs_jobs_through_a_migration(url: str) -> None:
    belt = Conveyor(url)

    @belt.task
    def double(number: int) -> int:
        return 2 * number

    belt.start()
    try:
        assert double.enqueue(1).result(60) == 2
        migration(url).run()
        assert [double.enqueue(number).result(60) for number in range(9)] == list(range(0, 18, 2))
    finally:
        belt.stop()
        belt.close()


NEWER = rf"knows version {NEWEST + 1}.*migrated by a newer Conveyor"


def test_code_that_a_step_is_not_compatible_with_says_so_and_changes_nothing(url: str) -> None:
    migration(url, INCOMPATIBLE).run()
    with pytest.raises(StoreVersionError, match=NEWER):
        PostgresStore(url)


def test_code_that_needs_a_step_says_that_the_schema_is_older(url: str) -> None:
    connection = Connection(parse_address(url))
    with pytest.raises(StoreVersionError, match=rf"version {NEWEST} of {NEWEST + 1}: run `conv"):
        check_version(connection, STEPS)
    migration(url).run()
    check_version(connection, STEPS)
    connection.close()


def test_an_old_version_does_not_undo_a_newer_one(url: str) -> None:
    migration(url).run()
    assert Migration(parse_address(url)).run() == (NEWEST + 1, NEWEST + 1)
    assert Migration(parse_address(url)).script() == ""


def test_two_migrations_at_once_make_a_step_once(url: str) -> None:
    with ThreadPoolExecutor(3) as threads:
        ran = list(threads.map(lambda _: migration(url).run(), range(3)))
    assert sorted(ran) == [(NEWEST, NEWEST + 1), *[(NEWEST + 1, NEWEST + 1)] * 2]


def test_a_migration_keeps_nobody_waiting_behind_an_idle_transaction(
    url: str, until: Callable[[Callable[[], object]], None]
) -> None:
    address = parse_address(url)
    store = PostgresStore(url)
    idle = psycopg.connect(address.server)
    idle.execute(f"SELECT count(*) FROM {address.schema}.worker".encode())
    ran: list[tuple[int, int]] = []
    thread = threading.Thread(
        target=lambda: ran.append(migration(url, lock_timeout=0.2).run()), daemon=True
    )
    thread.start()
    with psycopg.connect(address.server, autocommit=True) as admin:
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = %s::REGCLASS"
        given = (f"{address.schema}.worker",)
        until(lambda: admin.execute(waiting, given).fetchall())
    # It holds a lock of the queues while it waits for that of the workers, and gives it up.
    put(store, new())
    assert len(claim(store)) == 1
    assert not ran
    idle.close()
    thread.join(60)
    assert ran == [(NEWEST, NEWEST + 1)]
    store.close()


def test_a_migration_that_never_gets_its_locks_names_who_holds_them(url: str) -> None:
    address = parse_address(url)
    with psycopg.connect(address.server, application_name="a report") as idle:
        idle.execute(f"SELECT count(*) FROM {address.schema}.queue".encode())
        blocked = migration(url, lock_timeout=0.6, patience=0.5)
        with pytest.raises(UnavailableError, match=r"\(a report, idle in transaction\) holds"):
            blocked.run()
    assert Migration(address).versions() == (NEWEST, NEWEST)


def test_the_sql_for_an_administrator_waits_for_locks_as_briefly(url: str) -> None:
    assert "SET LOCAL lock_timeout = 1000;" in migration_script("s", 0, schema_files())
    assert migration(url).script().startswith("CREATE SCHEMA IF NOT EXISTS")
