"""The network between an agent and its server really breaks, for longer than a lease."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from accounts import changes, is_alive, objections, watch
from estate import Estate, wait_for
from partition import SERVER, Cable, cable
from programs import pids, runs, until_file

from conveyor import Conveyor


@pytest.fixture
def between() -> Iterator[Cable]:
    with cable() as made:
        yield made


def test_an_agent_that_is_cut_off_ends_its_job_before_another_begins_it_and_goes_on_afterwards(
    between: Cable, estate: Estate, tmp_path: Path
) -> None:
    estate.within = between.within(between.here)
    estate.server("--host", SERVER, "--lease", "4")
    watch(estate.db)
    estate.within = between.within(between.there)
    far = estate.agent("-c", "1", "--label", "far")
    # The store is on this machine; nobody else than the agents needs the network.
    belt = estate.closing(Conveyor(estate.db))
    job = belt.command(*until_file(tmp_path / "go")).enqueue()
    left = pids(job)
    assert runs(job, 1, far.name)
    estate.within = between.within(between.here)
    near = estate.agent("-c", "1")

    between.pull_out()
    wait_for(lambda: runs(job, 2, near.name))
    assert not any(map(is_alive, left))
    (tmp_path / "go").touch()
    assert job.result(20) == {"exit_code": 0}

    between.plug_in()
    after = belt.command("true").using(requires=["far"]).enqueue()
    after.result(30)
    assert after.refresh().record.worker == far.name
    assert objections(changes(estate.db), [job.id, after.id]) == []
    assert job.refresh().record.crashes == 1
    assert [line.split()[0] for line in job.logs().splitlines()] == ["going", "going", "done"]
