"""Agents that are told to go from elsewhere: real processes, and what becomes of their jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from estate import PATIENCE, Estate, Process, wait_for

from conveyor import Conveyor, InvalidTransitionError, State
from conveyor.client.job_handle import Job
from conveyor.core.job import WorkerInfo
from conveyor.errors import AccessError
from conveyor.store.messages import Order

ORDERS: tuple[Order, ...] = ("quiet", "work", "drain")
Ran = subprocess.CompletedProcess[str]


def conveyor(estate: Estate, *args: str) -> Ran:
    """Call the command line as an operator elsewhere does."""
    return subprocess.run(
        [sys.executable, "-m", "conveyor", *args, "--url", estate.url],
        env=os.environ | {"CONVEYOR_TOKEN": estate.admin},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def agent(estate: Estate, *args: str) -> tuple[Process, str]:
    """Start an agent; returns it and its worker's name, once the server knows that."""
    process = estate.agent("-c", "1", *args)
    name = process.says(r"agent (\S+):")[1]
    wait_for(lambda: name in names(estate))
    return process, name


def names(estate: Estate) -> list[str]:
    return [each.id for each in workers(estate)]


def workers(estate: Estate) -> list[WorkerInfo]:
    """Return the agents; the server's own entry is none of them."""
    return [each for each in estate.store().workers().result(10) if each.slots]


def command(estate: Estate, script: str) -> Job[dict[str, int]]:
    belt = estate.closing(Conveyor(estate.url, token=estate.admin))
    return belt.command("sh", "-c", script).enqueue()


def begin(estate: Estate, go: str = "go") -> Job[dict[str, int]]:
    """Have a job run that ends when there is a file."""
    job = command(estate, f"echo begun; until [ -e {estate.folder}/{go} ]; do sleep 0.05; done")
    wait_for(lambda: "begun" in job.logs())
    return job


@pytest.mark.parametrize("how", ["from afar", "SIGTERM"])
def test_an_agent_that_drains_is_given_nothing_finishes_what_runs_and_ends(
    estate: Estate, how: str
) -> None:
    estate.server()
    process, name = agent(estate, "-c", "2")
    running = begin(estate)
    if how == "SIGTERM":
        process.popen.terminate()
        process.says("SIGTERM: stopping")
    else:
        ran = conveyor(estate, "agents", "drain", name[:-3])
        assert (ran.returncode, ran.stdout) == (0, "")
        assert f"worker {name} is told to take no more jobs" in ran.stderr
        process.says("told to drain")
        [info] = workers(estate)
        assert info.draining
    process.says("no new jobs; 1 running")
    other = command(estate, "true")
    (estate.folder / "go").touch()
    assert running.result(PATIENCE) == {"exit_code": 0}
    assert process.popen.wait(PATIENCE) == 0
    assert names(estate) == []
    assert (other.refresh().state, other.record.lease) == (State.AVAILABLE, 0)


def test_an_agent_that_drains_stops_what_runs_when_its_own_drain_time_is_over(
    estate: Estate,
) -> None:
    estate.server()
    process, name = agent(estate, "--drain", "1.5")
    job = begin(estate)
    waited = conveyor(estate, "agents", "drain", name, "--wait", "20s")
    assert waited.returncode == 0
    assert f"  {job.id} conveyor.command, in {name}" in waited.stderr
    assert process.popen.wait(PATIENCE) == 75
    assert job.refresh().state is State.AVAILABLE


def test_waiting_for_an_agent_that_goes_on_says_what_still_runs(estate: Estate) -> None:
    estate.server()
    _, name = agent(estate)
    job = begin(estate)
    ran = conveyor(estate, "agents", "drain", name, "--wait", "0.1s")
    assert ran.returncode == 5
    assert "1 still there, running 1 job(s)" in ran.stderr
    assert job.id in ran.stderr
    assert f"still there after 0.1 s: {name}" in ran.stderr


def test_a_busy_agent_is_removed_only_by_force_and_its_job_runs_elsewhere(estate: Estate) -> None:
    estate.server()
    process, name = agent(estate)
    job = begin(estate)
    refused = conveyor(estate, "agents", "remove", name)
    assert refused.returncode == 2
    assert f"worker {name} holds 1 running job(s)" in refused.stderr
    assert not workers(estate)[0].draining
    _, other = agent(estate)
    removed = conveyor(estate, "agents", "remove", name, "--force", "--wait", "20s")
    assert removed.returncode == 0
    assert f"job {job.id} is given back as crashed" in removed.stderr
    # It hears that the lease is gone, kills the job, and has nothing left to do.
    assert process.popen.wait(PATIENCE) == 0
    wait_for(lambda: job.refresh().record.worker == other)
    (estate.folder / "go").touch()
    assert job.result(PATIENCE) == {"exit_code": 0}
    [line] = estate.store().history(job.id).result(10)
    assert line.error.message.endswith("removed by force")
    audit = json.loads(conveyor(estate, "audit", "--json").stdout)
    assert [(each["what"], each["subject"], each["detail"]) for each in audit] == [
        ("remove worker", name, "forced")
    ]


def test_an_idle_agent_that_is_removed_leaves_at_once(estate: Estate) -> None:
    estate.server()
    process, name = agent(estate)
    ran = conveyor(estate, "agents", "remove", name, "--wait", "20s")
    assert ran.returncode == 0
    assert process.popen.wait(PATIENCE) == 0
    assert names(estate) == []


def test_orders_over_http_are_noted_and_what_was_not_done_is_not(estate: Estate) -> None:
    estate.server()
    _, name = agent(estate)
    job = begin(estate)
    store = estate.store()
    assert not store.order(name, "drain", if_idle=True).result(10)
    for order in ORDERS:
        assert store.order(name, order).result(10)
    with pytest.raises(InvalidTransitionError, match="told to drain, which is final"):
        store.order(name, "work").result(10)
    (estate.folder / "go").touch()
    assert job.result(PATIENCE)
    lines = reversed(store.actions(limit=9).result(10))
    assert [(each.what, each.subject) for each in lines] == [
        (what, name) for what in ("quiet worker", "resume worker", "drain worker")
    ]


def test_only_an_admin_removes_workers_and_a_busy_one_is_a_conflict(estate: Estate) -> None:
    estate.server()
    token = estate.token("agent")
    _, name = agent(estate)
    begin(estate)
    with pytest.raises(AccessError, match="this needs the scope admin"):
        estate.store(token).dismiss(name).result(10)
    with pytest.raises(AccessError, match="may not act for worker"):
        estate.store(token).order(name, "drain").result(10)
    address = f"{estate.url}/api/v1/workers/{name}"
    asked = urllib.request.Request(
        address, method="DELETE", headers={"Authorization": f"Bearer {estate.admin}"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked, timeout=10)
    with refused.value as answer:
        assert (answer.code, json.loads(answer.read())["code"]) == (409, "busy")
