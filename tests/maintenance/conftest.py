"""What the tests of maintenance share: a store with a clock that is set by hand."""

from __future__ import annotations

import pytest

from conveyor.store.memory.store import MemoryStore
from conveyor.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock)
