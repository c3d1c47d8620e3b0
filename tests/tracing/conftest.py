"""Fixtures of the tests of traces."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "store"))
sys.path.append(str(Path(__file__).parents[1] / "server"))
from spans import Recorded, recording


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """Return the spans of an SDK that is configured in this process."""
    with recording() as spans:
        yield spans
