"""The drill of workers that break their promises: each has to be seen through."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

from conveyor.drill.runner import Drill
from conveyor.drill.scenarios import SCENES
from conveyor.drill.workers import start_worker

BAD = Path(__file__).with_name("bad_workers.py")
# how the workers are -> the scenes that go wrong -> what is said of it
RED = {
    "deaf": {"stop": "never out", "drain": "never out"},
    "hasty": {"drain": "went on", "cancel": "went on"},
    "forgetful": {
        "stop": "running",
        "drain": "never back",
        "kill": "never back",
        "freeze": "never taken",
        "cancel": "0 of 5 cancelled",
        # It may end or go on: in either case the jobs are not run.
        "disk": "0 of ",
        "poison": "running after 0 crashes",
    },
}


@pytest.mark.parametrize("how", RED)
def test_workers_that_break_promises_turn_the_table_red(how: str, tmp_path: Path) -> None:
    starter = partial(start_worker, program=(sys.executable, str(BAD), how))
    drill = Drill(tmp_path / "scratch", starter=starter, limit=10.0, at_once=len(SCENES))
    scenes = [scene for scene in SCENES if scene.name in RED[how]]
    for played in drill.play(scenes, lambda *_: None):
        broken = [check.happened for row in played.rows for check in row.checks if not check.kept]
        assert any(RED[how][played.name] in happened for happened in broken), (
            f"{how} {played.name}: {[row.happened for row in played.rows]}"
        )
