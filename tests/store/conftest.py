"""Every store there is, each with a clock that the test moves."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from damageable import File
from moves import WAYS, Stores
from served import Served

from conveyor.store.memory.store import MemoryStore
from conveyor.store.postgres.address import parse_address
from conveyor.store.protocol import Store
from conveyor.store.sql.store import SqlStore
from conveyor.store.sqlite.store import SqliteStore
from conveyor.testing import FakeClock
from pgbouncer import PgBouncer
from postgres_schema import Admin, Schemas
from postgres_server import PostgresServer

if TYPE_CHECKING:
    from conveyor.store.postgres.store import PostgresStore

STORES = ("memory", "sqlite", "http", "postgres")
# PostgreSQL behind PgBouncer, too, in the long drills.
ALL_STORES = (*STORES, pytest.param("pgbouncer", marks=pytest.mark.slow))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def pgbouncer(schemas: Schemas) -> Iterator[PgBouncer]:
    # Not in pytest's folder, which PgBouncer's user may not read.
    with tempfile.TemporaryDirectory(prefix="conveyor-pgb-") as folder:
        Path(folder).chmod(0o755)
        running = PgBouncer(Path(folder), Path(schemas.folder))
        yield running
        running.stop()


@pytest.fixture(params=ALL_STORES)
def store(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> Iterator[Store]:
    with ExitStack() as stack:
        url = ""
        if request.param == "postgres":
            url = stack.enter_context(request.getfixturevalue("schemas").one())
        if request.param == "pgbouncer":
            pgbouncer: PgBouncer = request.getfixturevalue("pgbouncer")
            direct = stack.enter_context(request.getfixturevalue("schemas").one())
            url = f"{pgbouncer.url}&schema={parse_address(direct).schema}&pool=transaction"
        opened = open_kind(request.param, clock, tmp_path, url)
        stack.callback(opened.close)
        yield opened


@pytest.fixture
def url(schemas: Schemas) -> Iterator[str]:
    """Return the URL of an empty schema of PostgreSQL."""
    with schemas.one() as url:
        yield url


@pytest.fixture
def postgres(url: str) -> Iterator[PostgresStore]:
    """Return a store in an empty schema, with the clock of the server."""
    from conveyor.store.postgres.store import PostgresStore

    opened = PostgresStore(url)
    yield opened
    opened.close()


@pytest.fixture
def admin(url: str) -> Iterator[Admin]:
    with Admin(url) as opened:
        yield opened


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """Return a PostgreSQL server for one test, which starts it."""
    # Not in pytest's folder, which the server's user may not read.
    with tempfile.TemporaryDirectory(prefix="conveyor-pg-") as folder:
        Path(folder).chmod(0o755)
        own = PostgresServer(Path(folder))
        yield own
        own.stop()


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
    if kind in ("postgres", "pgbouncer"):
        from conveyor.store.postgres.store import PostgresStore

        return PostgresStore(url, clock=clock, draw=lambda: 0.5)
    # What is tested here does not depend on fsync.
    return SqliteStore(folder / "jobs.db", clock=clock, durability="normal", draw=lambda: 0.5)
