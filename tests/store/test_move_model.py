"""A store that is moved goes on as the memory store, which is the specification, does."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from filled_store import without_seq
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from moves import moved
from test_model import QUICK, Agreement

from conveyor.store.move.move import undo
from conveyor.store.postgres.store import PostgresStore
from conveyor.store.protocol_files import UNUSED
from conveyor.store.sql.store import SqlStore
from conveyor.store.sqlite.store import SqliteStore
from postgres_schema import Schemas


def moving(open_next: Callable[[Any], SqlStore]) -> type[Agreement]:
    """Return a machine that moves its jobs to another store now and then, and goes on there."""

    class Moving(Agreement):
        def data(self, answer: Any) -> Any:
            return without_seq(super().data(answer))

        @rule(page_rows=st.integers(1, 5))
        def move(self, page_rows: int) -> None:
            spec, source = self.stores
            assert isinstance(source, SqlStore)
            # Producers, workers and uploads end first; only what jobs need is moved.
            self.clock.advance(UNUSED + 1)
            self.both(lambda store: store.leave("w"))
            self.both(lambda store: store.stage(limit=100))
            self.both(lambda store: store.sweep_contents(limit=99))
            self.offers.clear()
            target = open_next(self)
            moved(source, target, page_rows)
            if isinstance(source, PostgresStore):
                undo(source)
            source.close()
            self.stores = spec, target

    return Moving


def test_a_store_that_is_moved_goes_on_as_the_memory_store_does() -> None:
    numbers = itertools.count(1)

    def open_next(machine: Any) -> SqlStore:
        path = Path(machine.folder.name) / f"next{next(numbers)}.db"
        return SqliteStore(path, clock=machine.clock, durability="normal", draw=lambda: 0.5)

    run_state_machine_as_test(moving(open_next), settings=settings(QUICK, max_examples=12))


def test_a_store_that_is_moved_to_postgres_goes_on_as_the_memory_store_does(
    schemas: Schemas,
) -> None:
    numbers = itertools.count(1)
    with ExitStack() as stack:

        def open_next(machine: Any) -> SqlStore:
            how: dict[str, Any] = {"clock": machine.clock, "draw": lambda: 0.5}
            if isinstance(machine.stores[1], SqliteStore):
                return PostgresStore(stack.enter_context(schemas.one()), **how)
            path = Path(machine.folder.name) / f"next{next(numbers)}.db"
            return SqliteStore(path, durability="normal", **how)

        run_state_machine_as_test(moving(open_next), settings=settings(QUICK, max_examples=4))
