"""Workers, servers and agents on a terminal: their logs have no control sequence of others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from unicodedata import category

import pytest
from hostile_store import EVIL
from terminal import Service

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
