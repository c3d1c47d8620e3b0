"""`conveyor bench`."""

from __future__ import annotations

from shell import Command


def test_bench_measures_and_prints_the_machine(conveyor: Command) -> None:
    data = conveyor("bench", "--url", "memory:", "--jobs", 300, "--json").data
    assert data["machine"]["python"]
    assert [figure["jobs_per_second"] > 0 for figure in data["figures"]] == [True] * 4
