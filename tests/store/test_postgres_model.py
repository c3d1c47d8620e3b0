"""The memory store is the specification: PostgreSQL must agree with it, call by call."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from test_model import QUICK, Agreement

from conveyor.store.postgres.store import PostgresStore
from postgres_schema import Schemas


def without_seq(answer: Any) -> Any:
    """Forget the numbers of jobs: PostgreSQL leaves out those of transactions that failed."""
    if isinstance(answer, dict):
        return {name: without_seq(value) for name, value in answer.items() if name != "seq"}
    return [without_seq(each) for each in answer] if isinstance(answer, list) else answer


def machine(schemas: Schemas) -> type[Agreement]:
    class WithPostgres(Agreement):
        def __init__(self) -> None:
            super().__init__()
            spec, sqlite = self.stores
            sqlite.close()
            self.stack = ExitStack()
            url = self.stack.enter_context(schemas.one())
            self.stores = spec, PostgresStore(url, clock=self.clock, draw=lambda: 0.5)

        def data(self, answer: Any) -> Any:
            return without_seq(super().data(answer))

        def teardown(self) -> None:
            super().teardown()
            self.stack.close()

    return WithPostgres


def test_postgres_does_what_the_memory_store_does(schemas: Schemas) -> None:
    run_state_machine_as_test(machine(schemas), settings=settings(QUICK, max_examples=12))


@pytest.mark.slow
def test_postgres_does_what_the_memory_store_does_for_long(schemas: Schemas) -> None:
    long = settings(QUICK, derandomize=False, max_examples=500, stateful_step_count=80)
    run_state_machine_as_test(machine(schemas), settings=long)
