"""Every store there is, each with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from damageable import File
from moves import WAYS, Stores
from served import Served

from conveyor.store.memory.store import MemoryStore
from conveyor.store.protocol import Store
from conveyor.store.sql.store import SqlStore
from conveyor.store.sqlite.store import SqliteStore
from conveyor.testing import FakeClock

STORES = ("memory", "sqlite", "http", "postgres")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> Iterator[Store]:
    with ExitStack() as stack:
        url = ""
        if request.param == "postgres":
            url = stack.enter_context(request.getfixturevalue("schemas").one())
        opened = open_kind(request.param, clock, tmp_path, url)
        stack.callback(opened.close)
        yield opened


@pytest.fixture(params=["sqlite", "http"])
def file(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[File]:
    opened = File(tmp_path / "jobs.db", clock, served=request.param == "http")
    yield opened
    opened.store.close()


@pytest.fixture
def stores(tmp_path: Path, clock: FakeClock, request: pytest.FixtureRequest) -> Iterator[Stores]:
    opened = Stores(tmp_path, clock, lambda: request.getfixturevalue("schemas"))
    yield opened
    opened.close()


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, stores: Stores) -> tuple[SqlStore, SqlStore]:
    """A source and a target of a move, both empty."""
    source, _, target = str(request.param).partition(" to ")
    return stores.open(source), stores.open(target)


def open_kind(kind: str, clock: FakeClock, folder: Path, url: str = "") -> Store:
    """Open a fresh store of a kind; without randomness, so that two can be compared."""
    if kind == "memory":
        return MemoryStore(clock, draw=lambda: 0.5)
    if kind == "http":
        return Served(MemoryStore(clock, draw=lambda: 0.5), clock)
    if kind == "postgres":
        from conveyor.store.postgres.store import PostgresStore

        return PostgresStore(url, clock=clock, draw=lambda: 0.5)
    # What is tested here does not depend on fsync.
    return SqliteStore(folder / "jobs.db", clock=clock, durability="normal", draw=lambda: 0.5)
