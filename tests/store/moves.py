"""Moves between fresh stores, for tests: what opens them, and what ends a move as a kill would."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from conveyor.store.move.move import Moved, move
from conveyor.store.postgres.store import PostgresStore
from conveyor.store.sql.store import SqlStore
from conveyor.store.sql.transaction import Tx
from conveyor.store.sqlite.store import SqliteStore
from conveyor.testing import FakeClock
from postgres_schema import Schemas

WAYS = ("sqlite to postgres", "postgres to sqlite", "sqlite to sqlite")


def quiet(_part: str, _count: int) -> None:
    """Report nothing."""


class Stores:
    """Opens fresh stores, and leaves those of PostgreSQL as the next test needs them."""

    def __init__(self, folder: Path, clock: FakeClock, schemas: Callable[[], Schemas]) -> None:
        self.folder, self.clock = folder, clock
        self._schemas = schemas
        self._stack = ExitStack()
        self._numbers = itertools.count(1)
        self.opened: list[SqlStore] = []

    def open(self, kind: str) -> SqlStore:
        if kind == "sqlite":
            return self.open_file(self.folder / f"{next(self._numbers)}.db")
        url = self._stack.enter_context(self._schemas().one())
        opened = PostgresStore(url, clock=self.clock, draw=lambda: 0.5)
        self.opened.append(opened)
        return opened

    def open_file(self, path: Path) -> SqliteStore:
        opened = SqliteStore(
            path, clock=self.clock, durability="normal", draw=lambda: 0.5, for_move=True
        )
        self.opened.append(opened)
        return opened

    def close(self) -> None:
        for store in self.opened:
            if isinstance(store, PostgresStore):
                open_again(store)
            store.close()
        self._stack.close()


def open_again(store: SqlStore) -> None:
    """Have a schema accept changes, for the next test."""

    async def thaw(tx: Tx) -> None:
        await tx.rows("thaw")

    store.transact(thaw, reads=False).result()


def moved(source: SqlStore, target: SqlStore, page_rows: int = 7) -> Moved:
    """Move everything in small pages, and expect that it is right."""
    result = move(source, target, quiet, page_rows=page_rows)
    assert result is not None
    assert list(result.differences) == []
    return result


class Killed(BaseException):
    """Ends a move as a kill would: nothing is done on the way out."""


def die_at(part: str, count: int) -> Callable[[str, int], None]:
    def report(reported: str, reached: int) -> None:
        if (reported, reached) == (part, count):
            raise Killed

    return report
