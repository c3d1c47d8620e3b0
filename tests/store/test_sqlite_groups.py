"""Calls that SQLite runs together: what one is refused for undoes nothing of the others."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from calls import claim, new, put, settle

from conveyor.core.job import QueueTotals
from conveyor.core.lifecycle import Succeeded
from conveyor.errors import DuplicateIdError
from conveyor.store.sql.transaction import Tx
from conveyor.store.sqlite.store import SqliteStore


def test_a_total_stays_when_a_call_beside_it_is_refused(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    holding, go = threading.Event(), threading.Event()

    async def hold(_tx: Tx) -> None:
        holding.set()
        go.wait(60)

    put(store, new())
    [gone] = claim(store)
    settle(store, gone, Succeeded())
    [there] = put(store, new())
    # A call that finds nobody writing writes itself.
    holder = threading.Thread(target=lambda: store.transact(hold, reads=False).result(60))
    holder.start()
    holding.wait(60)
    # They wait for the writer, so it takes them together; the second is refused by the database.
    calls = [store.delete(gone.id), store.insert([new(id=there)]), store.insert([new()])]
    go.set()
    holder.join(60)
    with pytest.raises(DuplicateIdError):
        calls[1].result(60)
    calls[0].result(60)
    calls[2].result(60)
    assert store.queue_info("q").result(60).totals == QueueTotals(enqueued=3, completed=1)
    store.close()
