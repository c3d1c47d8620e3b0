"""Fixtures of the tests of traces."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "store"))
sys.path.append(str(Path(__file__).parents[1] / "server"))
from traced_belt import close, use

from conveyor.store.memory.store import MemoryStore
from spans import Recorded, recording


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """Return the spans of an SDK that is configured in this process."""
    with recording() as spans:
        yield spans


@pytest.fixture
def memory() -> Iterator[MemoryStore]:
    opened = MemoryStore()
    use(opened)
    yield opened
    close()
