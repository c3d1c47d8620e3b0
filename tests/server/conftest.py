"""Fixtures: a deployment of real processes, a store, and a server in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "store"))
from deployment import Deployment, deployed
from served import Serving

from conveyor.store.memory.store import MemoryStore
from conveyor.store.protocol import Store


@pytest.fixture
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    """Return a deployment on SQLite, or on PostgreSQL where the test is also given that."""
    with deployed(request, getattr(request, "param", "sqlite"), tmp_path) as made:
        yield made


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    opened = MemoryStore()
    yield opened
    opened.close()


@pytest.fixture
def server(store: Store) -> Iterator[Serving]:
    serving = Serving(store, tokens=True)
    yield serving
    serving.close()
