"""Agents that are drained or removed by an operator, as real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from deployment import ALSO_SLOWLY_ON_POSTGRES, PATIENCE, Deployment, Process, wait_for

from conveyor import Conveyor, InvalidTransitionError, State
from conveyor.client.job_handle import Job
from conveyor.core.job import WorkerInfo
from conveyor.errors import AccessError
from conveyor.store.messages import Order

ORDERS: tuple[Order, ...] = ("quiet", "work", "drain")
Ran = subprocess.CompletedProcess[str]


def conveyor(deployment: Deployment, *args: str) -> Ran:
    """Call the command line as an operator elsewhere does."""
    return subprocess.run(
        [sys.executable, "-m", "conveyor", *args, "--url", deployment.url],
        env=os.environ | {"CONVEYOR_TOKEN": deployment.admin},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def agent(deployment: Deployment, *args: str) -> tuple[Process, str]:
    """Start an agent; returns it and its worker's name, once the server knows that."""
    process = deployment.agent("-c", "1", *args)
    name = process.wait_for_output(r"agent (\S+):")[1]
    wait_for(lambda: name in names(deployment))
    return process, name


def names(deployment: Deployment) -> list[str]:
    return [each.id for each in workers(deployment)]


def workers(deployment: Deployment) -> list[WorkerInfo]:
    """Return the agents; the server's own entry is none of them."""
    return [each for each in deployment.store().workers().result(10) if each.slots]


def command(deployment: Deployment, script: str) -> Job[dict[str, int]]:
    belt = deployment.closing(Conveyor(deployment.url, token=deployment.admin))
    return belt.command("sh", "-c", script).enqueue()


def begin(deployment: Deployment, go: str = "go") -> Job[dict[str, int]]:
    """Have a job run that ends when there is a file."""
    job = command(
        deployment, f"echo begun; until [ -e {deployment.folder}/{go} ]; do sleep 0.05; done"
    )
    wait_for(lambda: "begun" in job.logs())
    return job


# An agent has one second to leave the list: on a busy machine it may exit without that.
@pytest.mark.alone
@ALSO_SLOWLY_ON_POSTGRES
@pytest.mark.parametrize("how", ["from afar", "SIGTERM"])
def test_a_draining_agent_finishes_its_jobs_claims_no_others_and_exits(
    deployment: Deployment, how: str
) -> None:
    deployment.server_thread()
    process, name = agent(deployment, "-c", "2")
    running = begin(deployment)
    if how == "SIGTERM":
        process.popen.terminate()
        process.wait_for_output("SIGTERM: stopping")
    else:
        ran = conveyor(deployment, "agents", "drain", name[:-3])
        assert (ran.returncode, ran.stdout) == (0, "")
        assert f"worker {name}: draining" in ran.stderr
        process.wait_for_output("drain ordered by the store")
        [info] = workers(deployment)
        assert info.draining
    process.wait_for_output("no new jobs; 1 running job")
    other = command(deployment, "true")
    (deployment.folder / "go").touch()
    assert running.result(PATIENCE) == {"exit_code": 0}
    assert process.popen.wait(PATIENCE) == 0
    assert names(deployment) == []
    assert (other.refresh().state, other.record.lease) == (State.AVAILABLE, 0)


def test_a_draining_agent_stops_its_jobs_when_its_drain_time_is_over(
    deployment: Deployment,
) -> None:
    deployment.server_thread()
    process, name = agent(deployment, "--drain", "4")
    job = begin(deployment)
    waited = conveyor(deployment, "agents", "drain", name, "--wait", "20s")
    assert waited.returncode == 0
    assert f"  {job.id} conveyor.command on {name}" in waited.stderr
    assert process.popen.wait(PATIENCE) == 75
    assert job.refresh().state is State.AVAILABLE


def test_waiting_for_a_draining_agent_lists_its_running_jobs(deployment: Deployment) -> None:
    deployment.server_thread()
    _, name = agent(deployment)
    job = begin(deployment)
    ran = conveyor(deployment, "agents", "drain", name, "--wait", "0.1s")
    assert ran.returncode == 5
    assert "waiting for 1 worker with 1 running job" in ran.stderr
    assert job.id in ran.stderr
    assert f"still running after 0.1 s: {name}" in ran.stderr


def test_a_busy_agent_is_removed_only_by_force_and_its_job_runs_on_another(
    deployment: Deployment,
) -> None:
    deployment.server_thread()
    process, name = agent(deployment)
    job = begin(deployment)
    refused = conveyor(deployment, "agents", "remove", name)
    assert refused.returncode == 2
    assert f"worker {name} holds 1 running job(s)" in refused.stderr
    assert not workers(deployment)[0].draining
    _, other = agent(deployment)
    removed = conveyor(deployment, "agents", "remove", name, "--force", "--wait", "20s")
    assert removed.returncode == 0
    assert f"job {job.id}: returned to its queue, counted as crashed" in removed.stderr
    # It hears that the lease is gone, kills the job, and has nothing left to do.
    assert process.popen.wait(PATIENCE) == 0
    wait_for(lambda: job.refresh().record.worker == other)
    (deployment.folder / "go").touch()
    assert job.result(PATIENCE) == {"exit_code": 0}
    [line] = deployment.store().history(job.id).result(10)
    assert line.error.message.endswith("removed by force")
    audit = json.loads(conveyor(deployment, "audit", "--json").stdout)
    assert [(each["what"], each["subject"], each["detail"]) for each in audit] == [
        ("remove worker", name, "forced")
    ]


def test_an_idle_agent_that_is_removed_leaves_at_once(deployment: Deployment) -> None:
    deployment.server_thread()
    process, name = agent(deployment)
    ran = conveyor(deployment, "agents", "remove", name, "--wait", "20s")
    assert ran.returncode == 0
    assert process.popen.wait(PATIENCE) == 0
    assert names(deployment) == []


def test_the_audit_log_has_orders_that_were_carried_out_and_no_others(
    deployment: Deployment,
) -> None:
    deployment.server_thread()
    _, name = agent(deployment)
    job = begin(deployment)
    store = deployment.store()
    assert not store.order(name, "drain", if_idle=True).result(10)
    for order in ORDERS:
        assert store.order(name, order).result(10)
    with pytest.raises(InvalidTransitionError, match="told to drain, which is final"):
        store.order(name, "work").result(10)
    (deployment.folder / "go").touch()
    assert job.result(PATIENCE)
    lines = reversed(store.actions(limit=9).result(10))
    assert [(each.what, each.subject) for each in lines] == [
        (what, name) for what in ("quiet worker", "resume worker", "drain worker")
    ]


def test_only_an_admin_removes_workers_and_a_busy_one_is_a_conflict(deployment: Deployment) -> None:
    deployment.server_thread()
    token = deployment.token("agent")
    _, name = agent(deployment)
    begin(deployment)
    with pytest.raises(AccessError, match="this needs the scope admin"):
        deployment.store(token).dismiss(name).result(10)
    with pytest.raises(AccessError, match="may not act for worker"):
        deployment.store(token).order(name, "drain").result(10)
    address = f"{deployment.url}/api/v1/workers/{name}"
    asked = urllib.request.Request(
        address, method="DELETE", headers={"Authorization": f"Bearer {deployment.admin}"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked, timeout=10)
    with refused.value as answer:
        assert (answer.code, json.loads(answer.read())["code"]) == (409, "busy")
