"""`--metrics-port`: workers in processes of their own serve their metrics, and say where."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import Command, Start, read_line

from conveyor import Conveyor
from reserved_port import ReservedPort
from scrape import Scrape


@pytest.fixture
def port() -> Iterator[ReservedPort]:
    reserved = ReservedPort()
    yield reserved
    reserved.close()


@pytest.mark.parametrize("command", ["worker", "run"])
def test_a_worker_serves_its_metrics_until_it_ends(
    start: Start, belt: Conveyor, port: ReservedPort, command: str
) -> None:
    worker = start(command, "app:belt", "--queue", "mail", "--metrics-port", str(port.number))
    line = read_line(worker, "metrics of worker ")
    assert line.endswith(f": {port.url}/metrics\n")
    job = belt.functions["send"].enqueue("ann")
    job.result(timeout=30)
    found = Scrape(f"{port.url}/metrics")
    sent = {"queue": "mail", "task": "send"}
    assert found("conveyor_worker_attempts_total", outcome="succeeded", **sent) == 1
    worker.terminate()
    assert worker.wait(30) == 0


def test_the_port_can_be_a_setting(
    start: Start, folder: Path, port: ReservedPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVEYOR_METRICS_PORT", str(port.number))
    monkeypatch.setenv("CONVEYOR_METRICS_HOST", "localhost")
    worker = start("worker", "app:belt")
    assert read_line(worker, "metrics of worker ").endswith(f":{port.number}/metrics\n")
    worker.terminate()
    assert worker.wait(30) == 0


def test_a_worker_without_the_option_says_nothing_of_metrics(start: Start) -> None:
    worker = start("worker", "app:belt")
    read_line(worker, "worker ")
    worker.terminate()
    _, err = worker.communicate(timeout=30)
    assert "metrics" not in err


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ("70000", "metrics_port = 70000 from the command line: must be at most 65535, got 70000"),
        ("-1", "metrics_port = -1 from the command line: must be an integer of 0 or more, got -1"),
    ],
)
def test_a_port_that_cannot_be_is_refused(conveyor: Command, given: str, wrong: str) -> None:
    ran = conveyor("worker", "app:belt", "--metrics-port", given)
    assert ran.code == 2
    assert wrong in ran.err


def test_an_unknown_host_is_an_error(conveyor: Command, port: ReservedPort) -> None:
    options = "--metrics-port", port.number, "--metrics-host", "no.such.host.invalid"
    ran = conveyor("worker", "app:belt", *options)
    assert ran.code == 2
    assert f"cannot listen on no.such.host.invalid:{port.number} for metrics: " in ran.err


def test_without_the_library_the_error_says_how_to_install_it(folder: Path) -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = None; "
        "from conveyor.cli.main import main; main()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, "worker", "app:belt", "--metrics-port", "9"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2
    assert "metrics_port needs prometheus-client: install it with" in ran.stderr
    assert "pip install conveyor[metrics]" in ran.stderr
