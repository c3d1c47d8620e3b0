"""A belt that is given another store than it was made with, before its first use."""

from __future__ import annotations

from pathlib import Path

import pytest

from conveyor import Conveyor, UsageError
from conveyor.testing import FakeClock


def test_a_diverted_belt_never_touches_its_own_store(tmp_path: Path) -> None:
    belt = Conveyor(tmp_path / "own" / "jobs.db")
    belt.divert(tmp_path / "other.db")

    @belt.task
    async def job() -> int:
        return 1

    enqueued = job.enqueue()
    belt.work()
    assert enqueued.result(10) == 1
    belt.close()
    assert (tmp_path / "other.db").exists()
    assert not (tmp_path / "own").exists()


def test_a_belt_whose_store_is_open_cannot_be_diverted(tmp_path: Path) -> None:
    belt = Conveyor("memory:")
    assert belt.store.url
    with pytest.raises(UsageError, match="already"):
        belt.divert(tmp_path / "other.db")
    belt.close()


def test_a_diverted_belt_lives_by_the_clock_of_this_machine_and_ticks_no_schedules(
    tmp_path: Path,
) -> None:
    belt = Conveyor("memory:", clock=FakeClock())

    @belt.schedule("every 1s")
    @belt.task
    async def tick() -> None: ...

    belt.divert(tmp_path / "jobs.db")
    belt.work()
    assert belt.store.schedules().result(10) == []
    assert belt.store.now() > 1_700_000_000
    belt.close()
