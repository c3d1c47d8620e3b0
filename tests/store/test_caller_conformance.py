"""What an enqueue promises holds in the application's transaction, on each kind of connection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import test_conformance_producing
from callers import Caller, opened

from conveyor.core.job import NewJob, WhenFull
from conveyor.core.pending import Pending, failed, ready
from conveyor.errors import ConveyorError, QueueFullError
from conveyor.store.messages import Accepted, Offered
from conveyor.store.postgres.store import PostgresStore
from conveyor.testing import FakeClock
from postgres_schema import Schemas


class Joined(PostgresStore):
    """Inserts in a transaction of the application, as far as that is possible."""

    caller: Caller

    def insert(
        self,
        jobs: Sequence[NewJob],
        *,
        capacity: int | None = None,
        when_full: WhenFull = "wait",
        again: bool = False,
    ) -> Pending[Accepted | Offered]:
        policy: WhenFull = "refuse" if when_full == "wait" else when_full
        if again or capacity == 0 or not jobs:
            return super().insert(jobs, capacity=capacity, when_full=when_full, again=again)
        try:
            with self.caller.transaction():
                return ready(self._join(jobs, capacity, policy))
        except QueueFullError as error:
            if when_full == "wait":
                return super().insert(jobs, capacity=capacity)
            return failed(error)
        except ConveyorError as error:
            return failed(error)

    def _join(self, jobs: Sequence[NewJob], capacity: int | None, when_full: WhenFull) -> Any:
        caller = self.caller
        return caller.call(
            self.insert_within(
                caller.connection,
                jobs,
                capacity=capacity,
                when_full=when_full,
                in_coroutine=caller.in_coroutine,
            )
        )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


# With parameters of each style; test_caller_transaction.py has all kinds.
@pytest.fixture(scope="module", params=["psycopg", "asyncpg", "django"])
def caller(request: pytest.FixtureRequest, schemas: Schemas) -> Iterator[Caller]:
    with opened(request.param, schemas.server) as caller:
        yield caller


@pytest.fixture
def store(caller: Caller, clock: FakeClock, schemas: Schemas) -> Iterator[PostgresStore]:
    with schemas.one() as url:
        joined = Joined(url, clock=clock, draw=lambda: 0.5)
        joined.caller = caller
        yield joined
        joined.close()


for name, test in vars(test_conformance_producing).items():
    if name.startswith("test_"):
        globals()[name] = test
