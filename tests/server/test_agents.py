"""Jobs on other machines: real servers and agents as processes, and what may happen to them."""

from __future__ import annotations

import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from accounts import changes, is_alive, objections, watch
from estate import Estate, wait_for
from programs import command, enqueue, pids, remote, runs, says, until_file
from some_tasks import add, nap, spin, watchful

from conveyor import JobCancelledError, State
from conveyor.client.job_handle import Job

# So short that the end of a lease is not waited for long.
SHORT = ("--lease", "4")
APP = ("--app", "some_tasks:belt")


def test_an_agent_without_the_database_runs_commands_and_functions(estate: Estate) -> None:
    estate.server()
    estate.agent(*APP, "-c", "2")
    done = command(estate, "sh", "-c", "echo out; echo err >&2; exit 0")
    assert done.result(20) == {"exit_code": 0}
    assert sorted(done.logs().split()) == ["err", "out"]
    assert enqueue(estate, add, 2, 3).result(20) == 5


@pytest.mark.parametrize("task", [nap, spin, watchful, None])
def test_a_running_job_is_cancelled_from_elsewhere_within_a_second(
    estate: Estate, task: Any
) -> None:
    estate.server()
    estate.agent(*APP)
    if task is None:
        job: Job[Any] = command(estate, "sh", "-c", "echo going; sleep 60 & sleep 60")
    else:
        job = enqueue(estate, task, 60.0)
    says(job, "ing")
    began = time.monotonic()
    assert job.cancel(wait=10)
    assert time.monotonic() - began < 5  # what it takes is measured in bench/, not here
    with pytest.raises(JobCancelledError):
        job.result(1)


def test_what_a_killed_agent_ran_runs_elsewhere_and_counts_as_a_crash_once(
    estate: Estate, tmp_path: Path
) -> None:
    estate.server(*SHORT)
    killed = estate.agent("-c", "1")
    watch(estate.db)
    job = command(estate, *until_file(tmp_path / "go"))
    left = pids(job)
    other = estate.agent("-c", "1")
    killed.stop(signal.SIGKILL)
    wait_for(lambda: runs(job, 2, other.name))
    (tmp_path / "go").touch()
    assert job.result(20) == {"exit_code": 0}
    assert job.refresh().record.crashes == 1
    [crash] = job.history()
    assert crash.worker == killed.name
    assert objections(changes(estate.db), [job.id]) == []
    wait_for(lambda: not any(map(is_alive, left)))
    wait_for(lambda: [each.id for each in workers(estate)] == [other.name])


def test_an_agent_that_stood_still_beyond_its_lease_is_fenced_kills_its_command_and_goes_on(
    estate: Estate, tmp_path: Path
) -> None:
    estate.server(*SHORT)
    frozen = estate.agent("-c", "1")
    watch(estate.db)
    job = command(estate, *until_file(tmp_path / "go"))
    left = pids(job)
    other = estate.agent("-c", "1", "--label", "rest")
    frozen.popen.send_signal(signal.SIGSTOP)
    wait_for(lambda: runs(job, 2, other.name), 30)
    frozen.popen.send_signal(signal.SIGCONT)
    wait_for(lambda: not any(map(is_alive, left)))
    frozen.says("report.stale|job.lost")
    (tmp_path / "go").touch()
    assert job.result(20) == {"exit_code": 0}
    assert job.logs().count("done") == 1
    assert job.refresh().record.crashes == 1
    other.stop()
    following = command(estate, "true")
    following.result(20)
    assert objections(changes(estate.db), [job.id, following.id]) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_starts_anew_in_the_middle_of_jobs_is_no_event(
    estate: Estate, tmp_path: Path, number: signal.Signals
) -> None:
    server = estate.server()
    estate.agent(*APP, "-c", "3")
    watch(estate.db)
    running = command(estate, *until_file(tmp_path / "go"))
    soon = command(estate, *until_file(tmp_path / "soon"))
    pids(running)
    [shell, _] = pids(soon)
    heard: list[object] = []
    waiting = threading.Thread(target=lambda: heard.append(running.result(30)))
    waiting.start()
    stopped = time.monotonic()
    code = server.stop(number)
    # Though a claim waits there and several streams go on.
    assert time.monotonic() - stopped < 2
    assert code == (0 if number is signal.SIGTERM else -number)
    (tmp_path / "soon").touch()  # it ends while there is no server
    wait_for(lambda: not is_alive(shell))
    estate.server()
    (tmp_path / "go").touch()
    waiting.join(30)
    assert heard == [{"exit_code": 0}]
    assert soon.result(20) == {"exit_code": 0}
    late = enqueue(estate, add, 1, 1)
    assert late.result(20) == 2
    jobs: list[Job[Any]] = [running, soon, late]
    assert [job.refresh().record.attempt for job in jobs] == [1, 1, 1]
    assert [line.split()[0] for line in soon.logs().splitlines()] == ["going", "done"]
    assert objections(changes(estate.db), [job.id for job in jobs]) == []


def test_an_agent_that_is_told_to_stop_hands_back_what_has_not_begun_and_finishes_the_rest(
    estate: Estate, tmp_path: Path
) -> None:
    estate.server()
    agent = estate.agent("-c", "1")
    running = command(estate, *until_file(tmp_path / "go"))
    pids(running)
    agent.popen.terminate()
    agent.says("no new jobs")
    waiting = command(estate, "true")
    (tmp_path / "go").touch()
    assert agent.popen.wait(20) == 0
    assert running.result(20) == {"exit_code": 0}
    assert workers(estate) == []
    record = waiting.refresh().record
    assert (record.state, record.attempt) == (State.AVAILABLE, 0)


def test_an_agent_that_waits_for_jobs_ends_at_once_when_told_to(estate: Estate) -> None:
    estate.server()
    agent = estate.agent()
    wait_for(lambda: workers(estate))
    stopped = time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - stopped < 3
    assert workers(estate) == []


def test_labels_say_which_agent_runs_what(estate: Estate) -> None:
    estate.server()
    plain, gpu = estate.agent(*APP), estate.agent(*APP, "--label", "gpu!only")
    jobs = [enqueue(estate, add, 1, 1, requires=[]) for _ in range(5)]
    asked = [enqueue(estate, add, 1, 1, requires=["gpu"]) for _ in range(5)]
    assert [job.result(20) for job in [*jobs, *asked]] == [2] * 10
    assert {job.refresh().record.worker for job in jobs} == {plain.name}
    assert {job.refresh().record.worker for job in asked} == {gpu.name}


def test_an_agent_that_may_run_no_commands_leaves_them_alone(estate: Estate) -> None:
    estate.server()
    estate.agent(*APP, commands=False)
    alone = command(estate, "true")
    assert enqueue(estate, add, 2, 2).result(20) == 4
    assert alone.refresh().state is State.AVAILABLE


def test_an_agent_without_an_application_leaves_functions_to_those_who_have_it(
    estate: Estate,
) -> None:
    estate.server()
    without = estate.agent("--label", "gpu")
    function = enqueue(estate, add, 2, 2)
    done = command(estate, "true", requires=["gpu"])
    done.result(20)
    assert done.refresh().record.worker == without.name
    assert function.refresh().state is State.AVAILABLE
    estate.agent(*APP, commands=False)
    assert function.result(20) == 4


def test_an_agent_with_a_wrong_token_ends_and_says_so(estate: Estate) -> None:
    estate.server()
    wrong = estate.admin[:-4] + "0000"
    agent = estate.agent(token=wrong, begins=False)
    assert agent.popen.wait(20) == 2
    assert "unknown token" in agent.log.read_text()


def test_an_agent_waits_for_a_server_that_is_not_there_yet(estate: Estate) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        estate.port = free.getsockname()[1]
    early = estate.agent(url=f"http://127.0.0.1:{estate.port}", begins=False)
    estate.server()
    early.says(r"agent \S+: \d+ slots")
    assert command(estate, "true").result(20) == {"exit_code": 0}


def test_an_agent_that_still_waits_for_a_server_ends_at_once_when_told_to(estate: Estate) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # it takes a connection, says nothing
        agent = estate.agent(url=f"http://127.0.0.1:{deaf.getsockname()[1]}", begins=False)
        connection, _ = deaf.accept()
        with connection:
            stopped = time.monotonic()
            assert agent.stop() == 0
            assert time.monotonic() - stopped < 3


def test_what_a_job_writes_is_followed_from_any_machine_while_it_runs(
    estate: Estate, tmp_path: Path
) -> None:
    estate.server()
    estate.agent()
    job = command(estate, *until_file(tmp_path / "go"))
    following = estate.run("logs", "-f", job.id)
    following.says("going")
    assert job.refresh().state is State.RUNNING
    (tmp_path / "go").touch()  # so it cannot have ended before
    assert following.popen.wait(20) == 0
    assert following.log.read_text() == job.logs()
    assert following.log.read_text().endswith("done\n")


def workers(estate: Estate) -> list[Any]:
    """Return the agents that the server knows; it is itself a worker, without slots."""
    return [each for each in remote(estate).store.workers().result(10) if each.slots]
