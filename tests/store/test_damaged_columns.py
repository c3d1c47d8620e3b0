"""A value of any type in any column of any table stops no loop, and the check names most of them.

SQLite itself would refuse such values; a damaged page can hold them. Jobs have tests of their own.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from calls import BROKEN, claim, new, put, settle
from damageable import NOT_UTF8

from conveyor.core.access import Action, Token
from conveyor.core.job import DETAILS, OutputChunk, ScheduleInfo, State, TaskDefaults, WorkerInfo
from conveyor.core.pending import Pending
from conveyor.errors import CorruptStoreError, NotFoundError
from conveyor.maintenance.loop import maintenance_loop
from conveyor.store.messages import Claimant, Filter, Offered, Want
from conveyor.store.sqlite.store import SqliteStore
from conveyor.testing import FakeClock

WORKER = WorkerInfo(
    id="w", host="h", boot_id="b", pid=1, pid_started=1.0, started_at=1.0, slots=1, queues=("q",)
)
SCHEDULE = ScheduleInfo(name="s", cron="@daily", timezone="UTC", missed="once", next_at=5.0)
TOKEN = Token(
    id="abcdefgh", name="n", digest="d", scopes=frozenset({"admin"}), created_at=1.0
)  # fmt: skip
VALUES = {"bytes": "x'37ff'", "text that is not UTF-8": NOT_UTF8}
# What the check reports if any of these columns holds a value that it cannot hold.
REPORTED = {
    "worker": "conveyor workers remove",
    "schedule": "conveyor schedules remove",
    "token": "conveyor token revoke",
    "offer": "the producer asks again",
    "leader": "the next candidate takes it over",
    "task": "declares it again when it starts",
}
# Any text is a name, bytes and nothing in these are shown as such, and 0 and NULL have a meaning.
UNNOTICED = {
    "worker": {"id"},
    "schedule": {
        *("name", "paused", "last_at", "timezone"),
        *("paused_at", "paused_by", "pause_reason", "recent"),
    },
    "token": {"expires_at", "revoked_at", "name", "digest", "id"},
    "offer": {"seq", "queue", "answer"},
    "leader": {"name", "holder", "note"},
    "task": {"name"},
}


def open_store(path: Path, clock: FakeClock) -> SqliteStore:
    return SqliteStore(path, clock=clock, durability="normal", draw=lambda: 0.5)


def fill(store: SqliteStore) -> str:
    """Put rows into every table; return the offer."""
    store.beat(WORKER).result()
    store.put_schedule(SCHEDULE).result()
    store.add_token(TOKEN).result()
    store.lead("scaler", "h", hold=60).result()
    store.put_tasks([TaskDefaults(name="t", priority=1)]).result()
    store.note_action([Action(who="w", where="p", what="w", subject="s")]).result()
    put(store, new(id="failed", retries=9))
    [job] = claim(store)
    chunk = OutputChunk(
        job_id="failed", lease=job.lease, offset=0, stream="stdout", at=1.0, data=b"x"
    )
    store.write_output([chunk]).result()
    settle(store, job, BROKEN)
    put(store, new(id="first", queue="small"), capacity=1)
    offer = store.insert([new(id="next", queue="small")], capacity=1).result()
    put(store, new(id="labelled", requires=("gpu",)), new(id="waits"))
    assert isinstance(offer, Offered)
    return offer.offer


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A store of which no table refuses a value, and the offer in it."""
    path = tmp_path_factory.mktemp("filled") / "jobs.db"
    store = open_store(path, FakeClock())
    offer = fill(store)
    store.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA writable_schema = ON")
        for part in ("STRICT, ", "STRICT", "NOT NULL"):
            db.execute(
                "UPDATE sqlite_schema SET sql = replace(sql, ?, '') WHERE type = 'table'", [part]
            )
    db.close()
    return path, offer


def columns(path: Path) -> Iterator[tuple[str, str]]:
    with sqlite3.connect(path) as db:
        tables = db.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        ).fetchall()
        for (table,) in tables:
            if table != "job":
                yield from ((table, row[1]) for row in db.execute(f"PRAGMA table_info({table})"))
    db.close()


def planted(path: Path, table: str, column: str, value: str) -> bool:
    """Write a value into a column; return whether it can hold it, as a key cannot hold NULL."""
    with sqlite3.connect(path) as db:
        try:
            db.execute(f"UPDATE {table} SET {column} = {value}")
        except sqlite3.Error:
            return False
    db.close()
    return True


def every_read(store: SqliteStore) -> Iterator[Callable[[], Pending[object]]]:
    yield from (store.workers, store.schedules, store.counts, store.check)
    yield lambda: store.tokens(limit=9)
    yield lambda: store.token(TOKEN.id)
    yield lambda: store.actions(limit=9)
    yield lambda: store.leader("scaler")
    yield lambda: store.task_defaults("t")
    yield lambda: store.load(limit=9)
    yield lambda: store.find(Filter(), limit=9, include=DETAILS)
    yield lambda: store.history("failed")
    yield lambda: store.output("failed", limit=9)
    yield lambda: store.files("failed")
    yield lambda: store.queue_info("q")


def every_change(store: SqliteStore, offer: str) -> Iterator[Callable[[], Pending[object]]]:
    wants = [Want("q", 9), Want("small", 9)]
    yield lambda: store.lead("scaler", "other", hold=60)
    yield lambda: store.stage(limit=9)
    yield lambda: store.claim(wants, Claimant("w2", labels=frozenset({"gpu"})), limit=9)
    yield lambda: store.insert([new()])
    yield lambda: store.accepted(offer)
    yield lambda: store.rescue(dead=["w", "w2"], limit=9)
    yield lambda: store.revoke_token(TOKEN.id)
    yield lambda: store.beat(WORKER)
    yield lambda: store.order("w", "work")
    yield lambda: store.put_schedule(SCHEDULE)


async def maintain(store: SqliteStore, clock: FakeClock) -> None:
    other = msgspec.structs.replace(WORKER, id="other")
    loop = maintenance_loop(store, lambda: other, elapsed=clock.now)
    loop.pruner.make_due()
    await loop.round()


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_of_any_type_in_any_column_stops_no_operation_and_no_maintenance(
    filled: tuple[Path, str], tmp_path: Path, kind: str
) -> None:
    source, offer = filled
    for table, column in columns(source):
        path = tmp_path / f"{table}.{column}.db"
        shutil.copy(source, path)
        if not planted(path, table, column, VALUES[kind]):
            continue
        clock = FakeClock()
        store = open_store(path, clock)
        for operation in (*every_read(store), *every_change(store, offer)):
            try:
                operation().result()
            except (NotFoundError, CorruptStoreError):
                assert (table, column) != ("queue", "available")
        asyncio.run(maintain(store, clock))
        assert store.get("waits").result().state is not State.DISCARDED, (table, column)
        store.close()
        path.unlink()


@pytest.mark.parametrize("table", REPORTED)
def test_the_check_names_what_is_damaged_and_says_what_to_do(
    filled: tuple[Path, str], tmp_path: Path, table: str
) -> None:
    source, _ = filled
    for name, column in columns(source):
        if name != table or column in UNNOTICED[table]:
            continue
        for value in ("x'37ff'", "NULL", "9e999"):
            path = tmp_path / "jobs.db"
            shutil.copy(source, path)
            assert planted(path, table, column, value)
            store = open_store(path, FakeClock())
            found = store.check().result()
            store.close()
            assert any(REPORTED[table] in each for each in found), (column, value, found)


def test_the_check_of_an_intact_store_finds_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "jobs.db", FakeClock())
    fill(store)
    assert store.check().result() == []
    store.close()


@pytest.mark.parametrize("value", ["'text'", "NULL"])
def test_a_queue_whose_counts_are_damaged_is_counted_again_and_served(
    filled: tuple[Path, str], tmp_path: Path, value: str
) -> None:
    path = tmp_path / "jobs.db"
    shutil.copy(filled[0], path)
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE queue SET available = {value}, running = {value} WHERE name = 'q'")
    db.close()
    store = open_store(path, FakeClock())
    put(store, new(id="more"))
    store.prune({}, limit=9).result()
    assert store.check().result() == []
    assert [job.id for job in claim(store, limit=9)] == ["waits", "more"]
    store.close()
