"""The service manager hears when a worker is ready, that it lives, and that it stops."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conveyor.system.sd_notify import READY, notify, status


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A manager's socket, and its address as $NOTIFY_SOCKET has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(20)
        if request.param == "path":
            address = str(tmp_path / "notify")
            listening.bind(address)
        else:
            listening.bind("")  # the kernel chooses an abstract address
            address = "@" + listening.getsockname()[1:].decode()
        yield listening, address


def test_lines_reach_the_socket_as_one_datagram(manager: tuple[socket.socket, str]) -> None:
    listening, address = manager
    notify(address, READY, status("all is well"))
    assert listening.recv(4096) == b"READY=1\nSTATUS=all is well"


def test_without_a_manager_nothing_happens(tmp_path: Path) -> None:
    notify("", READY)
    notify(str(tmp_path / "nobody"), READY)
    notify("@nobody-listens-here", READY)


def test_a_worker_says_ready_then_that_it_lives_and_at_last_that_it_stops(
    manager: tuple[socket.socket, str], tmp_path: Path
) -> None:
    listening, address = manager
    (tmp_path / "app.py").write_text("from conveyor import Conveyor\nbelt = Conveyor('jobs.db')\n")
    command = ["env", f"NOTIFY_SOCKET={address}", sys.executable, "-m", "conveyor", "worker"]
    with subprocess.Popen([*command, "app:belt"], cwd=tmp_path, stderr=subprocess.PIPE) as worker:
        try:
            first, second = (listening.recv(4096).decode().split("\n") for _ in range(2))
            worker.send_signal(signal.SIGTERM)
            last = listening.recv(4096).decode().split("\n")
            while "STOPPING=1" not in last:
                last = listening.recv(4096).decode().split("\n")
            worker.communicate(timeout=30)
        finally:
            worker.kill()
    assert first[0] == "READY=1"
    assert "WATCHDOG=1" in second
    assert "READY=1" not in second
    assert any(line.startswith("STATUS=ready, 0 of ") for line in second)
    assert worker.returncode == 0
