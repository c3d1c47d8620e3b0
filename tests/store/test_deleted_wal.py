"""What is only in the WAL of a database survives that somebody deletes it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from calls import new, put, state

from conveyor.core.job import State
from conveyor.store.sqlite.store import SqliteStore


@pytest.mark.parametrize("suffixes", [["-wal"], ["-wal", "-shm"]], ids=" ".join)
def test_a_wal_that_somebody_deletes_loses_nothing(tmp_path: Path, suffixes: list[str]) -> None:
    path = tmp_path / "jobs.db"
    store, other = SqliteStore(path), SqliteStore(path)
    put(store, new(id="before"))
    put(other, new(id="by the other"))
    for suffix in suffixes:
        os.unlink(f"{path}{suffix}")
    assert state(store, "by the other") is State.AVAILABLE
    put(store, new(id="after"))
    put(other, new(id="after by the other"))
    for each in (store, other):
        assert each.check().result(10) == []
        each.close()
    database = sqlite3.connect(path)
    kept = sorted(job for (job,) in database.execute("SELECT id FROM job"))
    database.close()
    assert kept == ["after", "after by the other", "before", "by the other"]
