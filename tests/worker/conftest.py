"""What tests of the worker share: helpers of the tests of the runners, and scratch folders."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conveyor.runners.workdir import WorkdirRoot

sys.path.append(str(Path(__file__).parents[1] / "runners"))


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkdirRoot]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    scratch = WorkdirRoot()
    yield scratch
    scratch.close(timeout=60)
    assert list(tmp_path.iterdir()) == []
