"""Jobs on other machines: real servers and agents as processes, and what may happen to them."""

from __future__ import annotations

from estate import Estate, wait_for
from some_tasks import add, belt, spin

from conveyor import Conveyor
from conveyor.handle import Job

LEASE = ("--lease", "4")


def remote(estate: Estate) -> Conveyor:
    """Return a program's belt that enqueues at the server."""
    made = Conveyor(estate.url, token=estate.admin)
    estate.closing(made)
    return made


def command(estate: Estate, *argv: str, **options: object) -> Job[dict[str, int]]:
    return remote(estate).command(*argv).using(**options).enqueue()  # type: ignore[arg-type]


def says(job: Job[object], text: str) -> None:
    wait_for(lambda: text in job.logs())


def test_an_agent_without_the_database_runs_commands_and_functions(estate: Estate) -> None:
    estate.server()
    estate.agent("--app", "some_tasks:belt", "-c", "2")
    done = command(estate, "sh", "-c", "echo out; echo err >&2; exit 0")
    assert done.result(20) == {"exit_code": 0}
    assert sorted(done.logs().split()) == ["err", "out"]
    belt.divert(estate.url, token=estate.admin)
    assert add.enqueue(2, 3).result(20) == 5
    assert spin.enqueue(0.0).result(20) > 0
