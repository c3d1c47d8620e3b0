"""Jobs on other machines: real servers and agents, and failures of both."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_tasks import add, nap, spin, watchful
from deployment import (
    ALSO_SLOWLY_ON_POSTGRES,
    ON_EACH_STORE,
    Deployment,
    deployed,
    wait_for,
)
from remote_jobs import command, enqueue, pids, remote, run_until_file, runs, wait_for_output
from state_log import is_alive, objections

from conveyor import JobCancelledError, State
from conveyor.client.job_handle import Job
from reserved_port import ReservedPort
from scrape import Scrape
from state_changes import changes, watch

# So short that the end of a lease is not waited for long.
SHORT = ("--lease", "4")
APP = ("--app", "agent_tasks:belt")


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def agents(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Return a server and an agent for tests that leave both running and idle."""
    with deployed(request, request.param, tmp_path_factory.mktemp("agents")) as made:
        made.server_thread()
        made.agent(*APP, "-c", "2")
        yield made


def test_an_agent_without_the_database_runs_commands_and_functions(agents: Deployment) -> None:
    done = command(agents, "sh", "-c", "echo out; echo err >&2; exit 0")
    assert done.result(60) == {"exit_code": 0}
    assert sorted(done.logs().split()) == ["err", "out"]
    assert enqueue(agents, add, 2, 3).result(60) == 5


@pytest.mark.parametrize("task", [nap, spin, watchful, None])
@pytest.mark.alone
def test_a_running_job_is_cancelled_from_another_machine_within_a_second(
    agents: Deployment, task: Any
) -> None:
    if task is None:
        job: Job[Any] = command(agents, "sh", "-c", "echo going; sleep 60 & sleep 60")
    else:
        job = enqueue(agents, task, 60.0)
    wait_for_output(job, "ing")
    began = time.monotonic()
    assert job.cancel(wait=60)
    assert time.monotonic() - began < 5  # what it takes is measured in bench/, not here
    with pytest.raises(JobCancelledError):
        job.result(30)


@ON_EACH_STORE
def test_a_job_of_a_killed_agent_runs_on_another_and_counts_as_one_crash(
    deployment: Deployment, tmp_path: Path
) -> None:
    deployment.server(*SHORT)
    killed = deployment.agent("-c", "1")
    watch(deployment.store_url)
    job = command(deployment, *run_until_file(tmp_path / "go"))
    left = pids(job)
    other = deployment.agent("-c", "1")
    killed.stop(signal.SIGKILL)
    wait_for(lambda: runs(job, 2, other.name))
    (tmp_path / "go").touch()
    assert job.result(60) == {"exit_code": 0}
    assert job.refresh().record.crashes == 1
    [crash] = job.history()
    assert crash.worker == killed.name
    assert objections(changes(deployment.store_url), [job.id]) == []
    wait_for(lambda: not any(map(is_alive, left)))
    wait_for(lambda: [each.id for each in workers(deployment)] == [other.name])


@ALSO_SLOWLY_ON_POSTGRES
def test_an_agent_that_was_suspended_beyond_its_lease_kills_its_command_and_continues(
    deployment: Deployment, tmp_path: Path
) -> None:
    deployment.server(*SHORT)
    frozen = deployment.agent("-c", "1")
    watch(deployment.store_url)
    job = command(deployment, *run_until_file(tmp_path / "go"))
    left = pids(job)
    other = deployment.agent("-c", "1", "--label", "rest")
    frozen.popen.send_signal(signal.SIGSTOP)
    wait_for(lambda: runs(job, 2, other.name), 30)
    frozen.popen.send_signal(signal.SIGCONT)
    wait_for(lambda: not any(map(is_alive, left)))
    frozen.wait_for_output("report.stale|job.lost")
    (tmp_path / "go").touch()
    assert job.result(60) == {"exit_code": 0}
    assert job.logs().count("done") == 1
    assert job.refresh().record.crashes == 1
    other.stop()
    following = command(deployment, "true")
    following.result(60)
    assert objections(changes(deployment.store_url), [job.id, following.id]) == []


@ALSO_SLOWLY_ON_POSTGRES
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_running_jobs_survive_a_restart_of_the_server(
    deployment: Deployment, tmp_path: Path, number: signal.Signals
) -> None:
    server = deployment.server()
    deployment.agent(*APP, "-c", "3")
    watch(deployment.store_url)
    running = command(deployment, *run_until_file(tmp_path / "go"))
    soon = command(deployment, *run_until_file(tmp_path / "soon"))
    pids(running)
    [shell, _] = pids(soon)
    heard: list[object] = []
    waiting = threading.Thread(target=lambda: heard.append(running.result(30)))
    waiting.start()
    stopped = time.monotonic()
    code = server.stop(number)
    # Though a claim waits there and several streams go on.
    assert time.monotonic() - stopped < 10
    assert code == (0 if number is signal.SIGTERM else -number)
    (tmp_path / "soon").touch()  # it ends while there is no server
    wait_for(lambda: not is_alive(shell))
    deployment.server()
    (tmp_path / "go").touch()
    waiting.join(30)
    assert heard == [{"exit_code": 0}]
    assert soon.result(60) == {"exit_code": 0}
    late = enqueue(deployment, add, 1, 1)
    assert late.result(60) == 2
    jobs: list[Job[Any]] = [running, soon, late]
    assert [job.refresh().record.attempt for job in jobs] == [1, 1, 1]
    assert [line.split()[0] for line in soon.logs().splitlines()] == ["going", "done"]
    assert objections(changes(deployment.store_url), [job.id for job in jobs]) == []


@ALSO_SLOWLY_ON_POSTGRES
def test_an_agent_that_is_stopped_finishes_running_jobs_and_starts_no_others(
    deployment: Deployment, tmp_path: Path
) -> None:
    deployment.server_thread()
    agent = deployment.agent("-c", "1")
    running = command(deployment, *run_until_file(tmp_path / "go"))
    pids(running)
    agent.popen.terminate()
    agent.wait_for_output("no new jobs")
    waiting = command(deployment, "true")
    (tmp_path / "go").touch()
    assert agent.popen.wait(60) == 0
    assert running.result(60) == {"exit_code": 0}
    assert workers(deployment) == []
    record = waiting.refresh().record
    assert (record.state, record.attempt) == (State.AVAILABLE, 0)


@ALSO_SLOWLY_ON_POSTGRES
def test_an_idle_agent_exits_at_once_when_stopped(deployment: Deployment) -> None:
    deployment.server_thread()
    agent = deployment.agent()
    wait_for(lambda: workers(deployment))
    stopped = time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - stopped < 10
    assert workers(deployment) == []


@ALSO_SLOWLY_ON_POSTGRES
def test_labels_decide_which_agent_runs_a_job(deployment: Deployment) -> None:
    deployment.server_thread()
    plain, gpu = deployment.agent(*APP), deployment.agent(*APP, "--label", "gpu!only")
    jobs = [enqueue(deployment, add, 1, 1, requires=[]) for _ in range(5)]
    asked = [enqueue(deployment, add, 1, 1, requires=["gpu"]) for _ in range(5)]
    assert [job.result(60) for job in [*jobs, *asked]] == [2] * 10
    assert {job.refresh().record.worker for job in jobs} == {plain.name}
    assert {job.refresh().record.worker for job in asked} == {gpu.name}


def test_an_agent_that_may_not_run_commands_claims_none(deployment: Deployment) -> None:
    deployment.server_thread()
    deployment.agent(*APP, commands=False)
    alone = command(deployment, "true")
    assert enqueue(deployment, add, 2, 2).result(60) == 4
    assert alone.refresh().state is State.AVAILABLE


def test_an_agent_without_an_application_runs_only_commands(
    deployment: Deployment,
) -> None:
    deployment.server_thread()
    without = deployment.agent("--label", "gpu")
    function = enqueue(deployment, add, 2, 2)
    done = command(deployment, "true", requires=["gpu"])
    done.result(60)
    assert done.refresh().record.worker == without.name
    assert function.refresh().state is State.AVAILABLE
    deployment.agent(*APP, commands=False)
    assert function.result(60) == 4


def test_an_agent_with_a_wrong_token_exits_with_an_error(deployment: Deployment) -> None:
    deployment.server_thread()
    wrong = deployment.admin[:-4] + "0000"
    agent = deployment.agent(token=wrong, begins=False)
    assert agent.popen.wait(60) == 2
    assert "unknown token" in agent.log.read_text()


def test_an_agent_waits_for_a_server_that_is_not_started_yet(deployment: Deployment) -> None:
    early = deployment.agent(url=f"http://127.0.0.1:{deployment.port}", begins=False)
    deployment.server()
    early.wait_for_output(r"agent \S+: \d+ slots")
    assert command(deployment, "true").result(60) == {"exit_code": 0}


def test_an_agent_that_waits_for_its_server_exits_at_once_when_stopped(
    deployment: Deployment,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # it takes a connection, says nothing
        agent = deployment.agent(url=f"http://127.0.0.1:{deaf.getsockname()[1]}", begins=False)
        connection, _ = deaf.accept()
        with connection:
            stopped = time.monotonic()
            assert agent.stop() == 0
            assert time.monotonic() - stopped < 10


def test_the_output_of_a_running_job_can_be_followed_from_any_machine(
    agents: Deployment, tmp_path: Path
) -> None:
    job = command(agents, *run_until_file(tmp_path / "go"))
    following = agents.run("logs", "-f", job.id)
    following.wait_for_output("going")
    assert job.refresh().state is State.RUNNING
    (tmp_path / "go").touch()  # so it cannot have ended before
    assert following.popen.wait(60) == 0
    assert following.log.read_text() == job.logs()
    assert following.log.read_text().endswith("done\n")


def workers(deployment: Deployment) -> list[Any]:
    """Return the agents that the server knows; it is itself a worker, without slots."""
    return [each for each in remote(deployment).store.workers().result(10) if each.slots]


def test_an_agent_serves_its_metrics_and_its_server_counts_it(agents: Deployment) -> None:
    port = ReservedPort()
    options = "--label", "counted!only", "--metrics-port", str(port.number)
    agent = agents.agent(*APP, "-c", "1", *options)
    done = enqueue(agents, add, 1, 2, requires=["counted"])
    assert done.result(60) == 3
    found = Scrape(f"{port.url}/metrics")
    names = {"queue": "default", "task": "agent_tasks.add", "outcome": "succeeded"}
    assert found("conveyor_worker_attempts_total", **names) == 1
    of_server = Scrape(f"{agents.url}/metrics", token=agents.admin)
    assert of_server("conveyor_workers", kind="agent", state="ready") >= 2
    assert of_server("conveyor_slots", kind="worker") == 0
    assert agent.stop() == 0
    port.close()
