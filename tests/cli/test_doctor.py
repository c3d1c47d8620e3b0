"""`conveyor doctor` without --quick."""

from __future__ import annotations

from pathlib import Path

import pytest
from shell import Command

from conveyor import Conveyor
from conveyor.store.messages import Claimant, Want


def test_doctor_finds_a_healthy_store_well_and_says_where_settings_come_from(
    conveyor: Command, belt: Conveyor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    belt.functions["send"].enqueue("ann")
    (folder / "conveyor.toml").write_text('drain = "10s"\n')
    monkeypatch.setenv("CONVEYOR_CONCURRENCY", "3")
    ran = conveyor("doctor")
    assert ran.code == 0
    assert "NOT OK" not in ran.out
    assert f"drain\t10.0\t{folder / 'conveyor.toml'}" in ran.out
    assert "concurrency\t3\tthe environment (CONVEYOR_CONCURRENCY)" in ran.out
    assert "lease\t60.0\tdefault" in ran.out
    data = conveyor("doctor", "--json").data
    assert data["ok"]
    assert data["settings"]["drain"] == {"value": 10.0, "from": str(folder / "conveyor.toml")}


def test_doctor_finds_jobs_that_nobody_runs(conveyor: Command, belt: Conveyor) -> None:
    belt.functions["send"].enqueue("ann")
    belt.store.claim([Want("mail", 1)], Claimant("gone"), limit=1).result(10)
    ran = conveyor("doctor")
    assert ran.code == 1
    assert "1 running job, but no live worker" in ran.out
