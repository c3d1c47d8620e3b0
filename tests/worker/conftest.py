"""What tests of the worker share: helpers of the tests of the runners, and scratch folders."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from completing import Place

from conveyor import Conveyor
from conveyor.runners.workdir import WorkdirRoot
from conveyor.store.postgres.address import parse_address
from postgres_schema import Schemas

sys.path.append(str(Path(__file__).parents[1] / "runners"))


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkdirRoot]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    scratch = WorkdirRoot()
    yield scratch
    scratch.close(timeout=60)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def place(schemas: Schemas) -> Iterator[Place]:
    with schemas.one() as url:
        server = parse_address(url).server
        belt = Conveyor(url)
        table = f"effects_of_{parse_address(url).schema}"
        with psycopg.connect(server, autocommit=True) as session:
            session.execute(f"CREATE TABLE {table} (job TEXT, attempt INT)")
            yield Place(belt, server, table)
            belt.close()
            session.execute(f"DROP TABLE {table}")
