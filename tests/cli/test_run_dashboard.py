"""The dashboard beside the worker of `conveyor run`."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import monotonic
from urllib.request import urlopen

import pytest

from conveyor import Conveyor
from conveyor.cli.shared.run_dashboard import RunDashboard
from conveyor.core.access import issue_token
from conveyor.settings import load_settings

APP = """
import time
from conveyor import Conveyor
belt = Conveyor("jobs.db")
@belt.task(name="block")
async def block():
    open("blocking", "w").close()
    time.sleep(2)
"""
URL = re.compile(r"dashboard: (\S+), no token required")


class Lines(io.StringIO):
    """A stream that says when a line was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = Event()

    def write(self, text: str) -> int:
        count = super().write(text)
        if "\n" in text:
            self.written.set()
        return count


@contextmanager
def running(folder: Path, *flags: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    (folder / "app.py").write_text(APP)
    with subprocess.Popen(
        [sys.executable, "-m", "conveyor", "run", "app:belt", *flags],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | env,
    ) as process:
        yield process
        process.kill()


def line(process: subprocess.Popen[str], begin: str) -> str:
    assert process.stderr is not None
    return next(each for each in process.stderr if each.startswith(begin)).rstrip("\n")


def url_of(process: subprocess.Popen[str]) -> str:
    found = URL.match(line(process, "dashboard: "))
    assert found is not None
    return found[1]


def test_a_worker_says_once_where_its_dashboard_is_and_stops_it_with_itself(
    tmp_path: Path,
) -> None:
    with running(tmp_path, "--dashboard", "0") as process:
        url = url_of(process)
        with urlopen(url) as page:
            assert b"<title>Conveyor</title>" in page.read()
        begin = monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert monotonic() - begin < 10
        assert process.stderr is not None
        assert "uvicorn" not in process.stderr.read()


def test_two_workers_have_two_dashboards(tmp_path: Path) -> None:
    with running(tmp_path) as one, running(tmp_path) as other:
        assert len({url_of(one), url_of(other)}) == 2


def test_a_port_that_is_taken_does_not_keep_a_worker_from_running(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with running(tmp_path, "--dashboard", port) as process:
            said = line(process, "dashboard: ")
            assert f"cannot listen on 127.0.0.1:{port}" in said
            assert "Choose another --dashboard," in said
            assert process.poll() is None


def test_other_machines_need_a_token(tmp_path: Path) -> None:
    with running(tmp_path, CONVEYOR_DASHBOARD="0.0.0.0:0") as process:
        assert "conveyor token create" in line(process, "dashboard: ")
        assert process.poll() is None


def test_it_can_be_switched_off_and_a_wrong_value_is_refused(tmp_path: Path) -> None:
    with running(tmp_path, "--dashboard", "off") as process:
        line(process, "worker ")
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        assert "dashboard" not in process.stderr.read()
    with running(tmp_path, "--dashboard", "here") as process:
        assert process.wait(60) == 2


@pytest.mark.parametrize(
    ("value", "token", "said"),
    [
        ("auto", False, r"not served, because this system does not say .* --dashboard 7410 "),
        ("auto", True, r"http\S+, token required"),
        ("0", False, r"http\S+, no token required, for any user of this machine"),
    ],
)
def test_where_users_are_not_known_there_is_a_dashboard_only_if_asked_for(
    value: str, token: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = Lines()
    monkeypatch.setattr(sys, "stderr", stderr)

    async def serve(dashboard: RunDashboard) -> None:
        async with dashboard.serving():
            assert await asyncio.to_thread(stderr.written.wait, 30)

    with Conveyor("memory://") as belt:
        if token:
            belt.store.add_token(issue_token("a", ["read"], now=0.0)[1]).result()
        settings = load_settings({"dashboard": value})
        asyncio.run(serve(RunDashboard(belt, settings, knows_users=lambda: False)))
    assert re.match(f"dashboard: {said}", stderr.getvalue())


def test_a_job_that_blocks_the_worker_does_not_block_the_page(tmp_path: Path) -> None:
    with running(tmp_path, "--dashboard", "0") as process:
        url = url_of(process)
        command = [sys.executable, "-m", "conveyor", "enqueue", "block"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        deadline = monotonic() + 60
        while not (tmp_path / "blocking").exists():
            assert monotonic() < deadline
        with urlopen(f"{url}/api/v1/jobs?states=running", timeout=1.5) as answer:
            assert b'"block"' in answer.read()


@pytest.mark.parametrize("module", ["starlette", "uvicorn"])
def test_without_its_packages_a_worker_runs_and_only_a_wish_is_an_error(
    tmp_path: Path, module: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys; sys.modules[{module!r}] = None")
    with running(tmp_path, PYTHONPATH=str(tmp_path)) as process:
        line(process, "worker ")
    with running(tmp_path, "--dashboard", "0", PYTHONPATH=str(tmp_path)) as process:
        assert process.wait(60) == 2
        assert process.stderr is not None
        assert "pip install conveyor[server]" in process.stderr.read()
