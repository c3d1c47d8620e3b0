"""Workers, servers and agents on a terminal: their logs have no control sequence of others."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unicodedata import category

import pytest
from hostile_store import EVIL

from conveyor import Conveyor

pytestmark = pytest.mark.alone

APP = f"""
from conveyor import Conveyor

belt = Conveyor("jobs.db")
queue = belt.queue({EVIL!r})


class EvilError(Exception):
    __qualname__ = {EVIL!r}


@queue.task(name={EVIL!r}, retries=1, backoff=0)
async def fail(text: str) -> None:
    raise EvilError(text)


@queue.task(name="process", retries=0, run="process")
def fail_apart(text: str) -> None:
    raise EvilError(text)
"""
# The beginning of a tab title, and of a line that the job's error forges.
FORGED = re.compile(r"^(first|second)", re.MULTILINE)


class Service:
    """A command that runs until it is stopped, on a terminal of its own."""

    def __init__(self, folder: Path, *args: str) -> None:
        self._master, slave = pty.openpty()
        self.printed = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "conveyor", *args],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)

    def read_until(self, text: bytes, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.printed:
            assert time.monotonic() < deadline, self.printed
            assert self._read(0.5) is not None, self.printed

    def stop(self) -> str:
        """Stop it as a service manager does, and return all that it has printed."""
        self.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 60
        while self._read(0.5) is not None:
            assert time.monotonic() < deadline, self.printed
        assert self.process.wait(60) == 0, self.printed
        return self.printed.replace(b"\r\n", b"\n").decode()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def _read(self, seconds: float) -> bytes | None:
        """Read what is there within some seconds; None at the end."""
        if not select.select([self._master], [], [], seconds)[0]:
            return b""
        try:
            piece = os.read(self._master, 1 << 16)
        except OSError:  # so a terminal ends on Linux
            return None
        self.printed += piece
        return piece or None


Begin = Callable[..., Service]


@pytest.fixture
def begin(folder: Path) -> Iterator[Begin]:
    """Start a service in a folder with a hostile application."""
    (folder / "evil.py").write_text(APP)
    started: list[Service] = []

    def begin_service(*args: str) -> Service:
        service = Service(folder, *args)
        started.append(service)
        return service

    yield begin_service
    for service in started:
        service.close()


def enqueue_both(folder: Path) -> None:
    belt = Conveyor(str(folder / "jobs.db"))
    for task in (EVIL, "process"):
        belt.send(task, {"text": EVIL}, queue=EVIL)
    belt.close()


def check(printed: str) -> None:
    assert "\\x1b]0;title\\x07" in printed
    assert not FORGED.search(printed)
    bad = {letter for letter in printed if category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert bad <= {"\n", "\t"}


@pytest.mark.parametrize("role", ["worker", "run"])
def test_a_worker_logs_hostile_jobs_escaped(begin: Begin, folder: Path, role: str) -> None:
    worker = begin(role, "evil:belt", "-q", EVIL, "--health-file", "health")
    worker.read_until(b"worker ")
    enqueue_both(folder)
    worker.read_until(b"task=process")
    worker.read_until(b"job.retrying")
    worker.read_until(b"job.discarded")
    health = (folder / "health").read_bytes()
    assert all(32 <= byte < 127 or byte == 10 for byte in health)
    assert json.loads(health)["state"] == "ready"
    check(worker.stop())


def test_a_server_and_an_agent_log_hostile_jobs_escaped(begin: Begin, folder: Path) -> None:
    server = begin("server", "evil:belt", "--port", "0")
    server.read_until(b"server: http")
    url = re.search(rb"http://[0-9.:]+", server.printed)
    assert url is not None
    agent = begin("agent", "--server", url[0].decode(), "--app", "evil:belt", "-q", EVIL)
    agent.read_until(b"agent ")
    enqueue_both(folder)
    agent.read_until(b"task=process")
    agent.read_until(b"job.retrying")
    check(agent.stop())
    printed = server.stop()
    assert {letter for letter in printed if category(letter) == "Cc"} <= {"\n", "\t"}
