"""The network between an agent and its server fails for longer than a lease."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from deployment import Deployment, wait_for
from network_namespaces import SERVER, Cable, cable
from remote_jobs import pids, run_until_file, runs
from state_log import is_alive, objections

from conveyor import Conveyor
from state_changes import changes, watch

pytestmark = pytest.mark.alone


@pytest.fixture
def between() -> Iterator[Cable]:
    with cable() as made:
        yield made


def test_an_agent_without_network_stops_its_job_before_another_starts_it(
    between: Cable, deployment: Deployment, tmp_path: Path
) -> None:
    deployment.within = between.within(between.here)
    deployment.server("--host", SERVER, "--lease", "4")
    watch(deployment.db)
    deployment.within = between.within(between.there)
    far = deployment.agent("-c", "1", "--label", "far")
    # The store is on this machine; nobody else than the agents needs the network.
    belt = deployment.closing(Conveyor(deployment.db))
    job = belt.command(*run_until_file(tmp_path / "go")).enqueue()
    left = pids(job)
    assert runs(job, 1, far.name)
    deployment.within = between.within(between.here)
    near = deployment.agent("-c", "1")

    between.pull_out()
    wait_for(lambda: runs(job, 2, near.name))
    assert not any(map(is_alive, left))
    (tmp_path / "go").touch()
    assert job.result(60) == {"exit_code": 0}

    between.plug_in()
    after = belt.command("true").using(requires=["far"]).enqueue()
    after.result(30)
    assert after.refresh().record.worker == far.name
    assert objections(changes(deployment.db), [job.id, after.id]) == []
    assert job.refresh().record.crashes == 1
    assert [line.split()[0] for line in job.logs().splitlines()] == ["going", "going", "done"]
