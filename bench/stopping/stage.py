"""The stage of one scene: a peer's client, its workers, and what is observed from outside.

Every process that descends from a worker carries the worker's token in its environment, so that it
can be found and killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

PEERS = Path(__file__).with_name("peers")
TOKEN = "STOPPING_SCENE"
LOOK = 0.02


class SceneError(Exception):
    """A scene could not be completed."""


class Client:
    """A process in the peer's environment that enqueues, cancels and queries jobs."""

    def __init__(
        self, python: Path, module: str, environment: Mapping[str, str], log: Path
    ) -> None:
        with log.open("a") as errors:
            self._process = subprocess.Popen(
                [python, "client.py", module],
                cwd=PEERS,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.hello: dict[str, Any] = self._answer()

    def ask(self, *request: str) -> Any:
        """Send a request and wait for the response."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if isinstance(answer, dict) and "error" in answer:
            raise SceneError(f"{request}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SceneError("the client has died; see client.log in the directory kept by --keep")
        return json.loads(line)


class Stage:
    """The directory, client and workers of one scene."""

    def __init__(self, python: Path, module: str, environment: Mapping[str, str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="stopping-"))
        self._environment = {**environment, "STORE": str(self.folder / "jobs.db")}
        self._python, self._module = python, module
        self._clients: list[Client] = []
        self._tokens: list[str] = []
        self._workers: list[subprocess.Popen[bytes]] = []
        self.jobs = self.folder / "seen"
        self.jobs.mkdir()
        self.client = self.another_client()
        self.client.ask("prepare")

    def another_client(self) -> Client:
        """Start another client, for concurrent requests."""
        log = self.folder / "client.log"
        client = Client(self._python, self._module, self._environment, log)
        self._clients.append(client)
        return client

    def enqueue(self, task: str) -> str:
        """Enqueue a job that writes its heartbeats to the directory."""
        return str(self.client.ask("enqueue", task, str(self.jobs)))

    def worker(self) -> subprocess.Popen[bytes]:
        """Start a worker; its output goes to a log file."""
        self._tokens.append(uuid.uuid4().hex)
        hello = self.client.hello
        with (self.folder / f"worker-{len(self._tokens)}.log").open("wb") as log:
            worker = subprocess.Popen(
                hello["worker"],
                cwd=PEERS,
                env={
                    **os.environ,
                    **self._environment,
                    **hello["environment"],
                    TOKEN: self._tokens[-1],
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._workers.append(worker)
        return worker

    def of_worker(self, number: int) -> list[int]:
        """Return the live processes that descend from a worker, including the worker."""
        mark = f"{TOKEN}={self._tokens[number]}".encode()
        return [pid for pid in _pids() if mark in _read(pid, "environ") and alive(pid)]

    def end_worker(self, number: int) -> None:
        """Kill everything that descends from a worker, as a container runtime does."""
        until = time.monotonic() + 10
        while (left := self.of_worker(number)) and time.monotonic() < until:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(LOOK)

    def events(self, what: str) -> list[tuple[int, float]]:
        """Return the pid and time of each recorded event of a kind."""
        try:
            lines = (self.jobs / "events").read_text().splitlines()
        except FileNotFoundError:
            return []
        noted = [line.split() for line in lines]
        return [(int(pid), float(at)) for kind, pid, at in noted if kind == what]

    def beats(self) -> dict[str, float]:
        """Return the time of each last heartbeat, by file name."""
        names = ("job-*", "shell", "child", "grandchild")
        return {path.name: path.stat().st_mtime for name in names for path in self.jobs.glob(name)}

    def sleepers(self) -> list[int]:
        """Return the child processes that jobs have started."""
        return [int(path.name.partition("-")[2]) for path in self.jobs.glob("sleeper-*")]

    def close(self) -> None:
        """Kill all processes."""
        for number in range(len(self._tokens)):
            self.end_worker(number)
        for client in self._clients:
            client.close()
        for worker in self._workers:
            worker.wait(10)


def wait_until(true: Callable[[], Any], within: float) -> bool:
    """Wait for a condition; return whether it became true."""
    until = time.monotonic() + within
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(LOOK)
    return True


def alive(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    return _read(pid, "stat").rpartition(b")")[2].split()[:1] not in ([], [b"Z"], [b"X"])


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def log(message: str) -> None:
    """Write a message to stderr."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()
