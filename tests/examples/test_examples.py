"""Workers inside other programs, as the examples show: run for real, stopped by their own means."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conveyor import Conveyor, State
from reserved_port import ReservedPort

EXAMPLES = Path(__file__).parents[2] / "examples"
Until = Callable[..., None]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return os.environ | {"CONVEYOR_URL": str(tmp_path / "jobs.db"), "PYTHONPATH": str(EXAMPLES)}


@pytest.fixture
def belt(tmp_path: Path) -> Iterator[Conveyor]:
    opened = Conveyor(tmp_path / "jobs.db")
    yield opened
    opened.close()


def states(belt: Conveyor) -> list[State]:
    return sorted(job.state for job in belt.jobs())


class Site:
    """A served example, and how to call it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.port = ReservedPort()
        command = [sys.executable, "-m", "uvicorn", "web:app", "--port", str(self.port.number)]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)

    def call(self, method: str, path: str) -> Any:
        request = urllib.request.Request(self.port.url + path, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def answers(self) -> bool:
        with socket.socket() as knocking:
            return knocking.connect_ex(("127.0.0.1", self.port.number)) == 0

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.port.close()


@pytest.fixture
def site(environment: dict[str, str], until: Until) -> Iterator[Site]:
    site = Site(environment)
    until(site.answers)
    yield site
    site.close()


def test_the_web_server_s_shutdown_lets_the_running_jobs_finish(
    site: Site, belt: Conveyor, until: Until
) -> None:
    ids = [site.call("POST", f"/reports?name=n{number}")["id"] for number in range(6)]
    cancelled = site.call("POST", "/reports?name=late&seconds=60")["id"]
    until(lambda: site.call("GET", f"/reports/{cancelled}")["state"] == "running")
    assert site.call("DELETE", f"/reports/{cancelled}")["state"] == "cancelled"
    running = site.call("POST", "/reports?name=last")["id"]
    until(lambda: site.call("GET", f"/reports/{running}")["state"] == "running")
    site.process.send_signal(signal.SIGTERM)
    assert site.process.wait(30) in (0, -signal.SIGTERM)  # uvicorn repeats the signal at its end
    assert belt.job(running).refresh().state is State.COMPLETED
    assert all(belt.job(each).refresh().state is State.COMPLETED for each in ids)
    assert belt.store.workers().result() == []


def test_the_web_server_answers_404_for_a_report_that_does_not_exist(site: Site) -> None:
    for method in ("GET", "DELETE"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            site.call(method, "/reports/no-such-report")
        assert refused.value.code == 404
        refused.value.close()


def test_a_blocking_program_drains_its_worker_at_exit(
    environment: dict[str, str], belt: Conveyor
) -> None:
    command = [sys.executable, str(EXAMPLES / "embedded.py")]
    ran = subprocess.run(
        command, env=environment, input="ann\nbob\n", capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    # Two had begun or were released: nothing was lost, and nothing runs.
    assert set(states(belt)) <= {State.COMPLETED, State.AVAILABLE}
    assert len(states(belt)) == 2
    assert belt.store.workers().result() == []


def test_a_blocking_program_s_own_signal_handler_is_the_one_that_acts(
    environment: dict[str, str], belt: Conveyor, until: Until
) -> None:
    command = [sys.executable, str(EXAMPLES / "embedded.py")]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("ann\n")
        process.stdin.flush()
        assert process.stdout.readline() == "noted ann\n"
        until(lambda: State.AVAILABLE not in states(belt))
        process.terminate()
        # Python's handler may have missed the moment before the program began to read.
        process.stdin.close()
        assert process.wait(30) == 128 + signal.SIGTERM
    assert states(belt) == [State.COMPLETED]
