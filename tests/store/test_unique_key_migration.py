"""The unique keys of a SQLite file whose keys were those of a task in all queues."""

from __future__ import annotations

from pathlib import Path

import apsw
from calls import new, put
from older_file import make_older

from conveyor.store.sqlite.store import SqliteStore


def test_the_unique_keys_of_a_file_of_schema_8_are_those_of_their_queues(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = SqliteStore(path)
    ids = put(store, new(key="cat"), new(key="dog"), new())
    store.close()
    make_older(path, 8)
    old_file = apsw.Connection(str(path))
    for job_id, key in zip(ids, ("cat", "dog"), strict=False):
        old = f"'t' || char(0) || '{key}'"
        old_file.execute(f"UPDATE job SET unique_key = {old} WHERE id = '{job_id}'")
    old_file.close()
    store = SqliteStore(path)
    again = [new(key="cat"), new(key="dog"), new(key="cat", queue="other")]
    assert put(store, *again[:2]) == ids[:2]
    assert put(store, again[2]) == [again[2].id]
    store.close()
