"""The drill of workers that break their promises: each has to be seen through."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

from conveyor.drill.runner import Drill
from conveyor.drill.scenarios import SCENARIOS
from conveyor.drill.workers import start_worker

BAD = Path(__file__).with_name("bad_workers.py")
# kind of worker -> the scenarios with broken promises -> what happened there
RED = {
    "deaf": {"stop": "never exited", "drain": "never exited"},
    "hasty": {"drain": "still ran", "cancel": "still ran"},
    "forgetful": {
        "stop": "running",
        "drain": "never returned",
        "kill": "never returned",
        "freeze": "never taken over",
        "cancel": "0 of 5 cancelled",
        # It may end or go on: in either case the jobs are not run.
        "disk": "0 of ",
        "poison": "running after 0 crashes",
    },
}


@pytest.mark.parametrize("how", RED)
def test_workers_that_break_promises_turn_the_table_red(how: str, tmp_path: Path) -> None:
    starter = partial(start_worker, program=(sys.executable, str(BAD), how))
    drill = Drill(tmp_path / "scratch", starter=starter, limit=10.0, concurrency=len(SCENARIOS))
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in RED[how]]
    for result in drill.run(scenarios, lambda *_: None):
        broken = [check.happened for row in result.rows for check in row.checks if not check.kept]
        assert any(RED[how][result.name] in happened for happened in broken), (
            f"{how} {result.name}: {[row.happened for row in result.rows]}"
        )
