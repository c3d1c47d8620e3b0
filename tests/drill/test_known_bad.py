"""The drill of workers that break their promises: it must notice each of them."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from conveyor.drill.runner import Drill, ScenarioResult
from conveyor.drill.scenarios import SCENARIOS
from conveyor.drill.workers import start_worker

pytestmark = pytest.mark.alone

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
        "sick-machine": "says nothing",
        "exit": "running after 1 attempt",
        "damaged-row": "running",
    },
}
# A worker that breaks a promise is waited for until the limit of its scenario, in seconds, so all
# of them run at the same time.
LIMIT = 12.0


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[ScenarioResult]]:
    """What each kind of worker did in the scenarios in which it breaks promises."""

    def drill(kind: str) -> list[ScenarioResult]:
        starter = partial(start_worker, program=(sys.executable, str(BAD), kind))
        folder = tmp_path_factory.mktemp(kind) / "scratch"
        drill = Drill(folder, starter=starter, limit=LIMIT, concurrency=len(SCENARIOS))
        scenarios = [scenario for scenario in SCENARIOS if scenario.name in RED[kind]]
        return drill.run(scenarios, lambda *_: None)

    with ThreadPoolExecutor(len(RED)) as threads:
        return dict(zip(RED, threads.map(drill, RED), strict=True))


@pytest.mark.parametrize("kind", RED)
def test_workers_that_break_promises_turn_the_table_red(
    kind: str, results: dict[str, list[ScenarioResult]]
) -> None:
    assert {result.name for result in results[kind]} == set(RED[kind])
    for result in results[kind]:
        broken = [check.happened for row in result.rows for check in row.checks if not check.kept]
        assert any(RED[kind][result.name] in happened for happened in broken), (
            f"{kind} {result.name}: {[row.happened for row in result.rows]}"
        )
