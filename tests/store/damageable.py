"""A SQLite file whose rows a test damages, directly or behind a server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from served import Served

from conveyor.store.protocol import Store
from conveyor.store.sqlite.store import SqliteStore
from conveyor.testing import FakeClock

NOT_UTF8 = "CAST(x'41ff42' AS TEXT)"
# JSON of which no program follows the depth, in a field that no type has.
TOO_DEEP = "CAST('{\"deep\":' || replace(hex(zeroblob(9999)), '00', '[') AS BLOB)"


class File:
    """A SQLite store, or a server in front of one, and a way to damage its rows."""

    def __init__(self, path: Path, clock: FakeClock, *, served: bool) -> None:
        self.path, self.clock = path, clock
        self.behind = SqliteStore(path, clock=clock, durability="normal", draw=lambda: 0.5)
        self.store: Store = Served(self.behind, clock) if served else self.behind

    def plant(self, damages: Mapping[str, str]) -> None:
        """Change the rows of jobs, by their ids."""
        for job_id, values in damages.items():
            self.run(f"UPDATE job SET {values} WHERE id = '{job_id}'")

    def run(self, statement: str) -> None:
        """Run SQL in the store's own connection, between two transactions."""
        writer = self.behind._driver._writer  # type: ignore[attr-defined]
        with writer._transaction_lock, writer._db.writing():
            writer._db._connection.execute(statement)

    def counts_are_true(self) -> bool:
        found = self.store.check().result()
        return not [each for each in found if each.startswith("queue ")]
