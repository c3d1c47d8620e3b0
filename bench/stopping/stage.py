"""The stage of one scene: a peer's client, its workers, and what is seen of the job from outside.

Every process that comes from a worker carries its token in the environment, wherever it went, so
that nothing escapes the eye and nothing is left behind.
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
    """A scene could not be played to its end."""


class Client:
    """A process in the peer's environment that enqueues, cancels and asks."""

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
        """Ask, and wait for the answer."""
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
            raise SceneError("the client has died; see client.log in the folder that --keep leaves")
        return json.loads(line)


class Stage:
    """One scene's folder, client and workers."""

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
        """Start a further client, for what is to be asked meanwhile."""
        log = self.folder / "client.log"
        client = Client(self._python, self._module, self._environment, log)
        self._clients.append(client)
        return client

    def enqueue(self, task: str) -> str:
        """Enqueue a job that shows itself in the folder."""
        return str(self.client.ask("enqueue", task, str(self.jobs)))

    def worker(self) -> subprocess.Popen[bytes]:
        """Start a worker; its output goes to a file, for whoever looks into a failure."""
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
        """Return the living processes that came from a worker, itself included."""
        mark = f"{TOKEN}={self._tokens[number]}".encode()
        return [pid for pid in _pids() if mark in _read(pid, "environ") and alive(pid)]

    def end_worker(self, number: int) -> None:
        """Kill all that came from a worker, as the end of a container would."""
        until = time.monotonic() + 10
        while (left := self.of_worker(number)) and time.monotonic() < until:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(LOOK)

    # -- what is seen ----------------------------------------------------------------------------

    def events(self, what: str) -> list[tuple[int, float]]:
        """Return by whom and when something was noted."""
        try:
            lines = (self.jobs / "events").read_text().splitlines()
        except FileNotFoundError:
            return []
        noted = [line.split() for line in lines]
        return [(int(pid), float(at)) for kind, pid, at in noted if kind == what]

    def beats(self) -> dict[str, float]:
        """Return when each heart beat last, by the name of its file."""
        names = ("job-*", "shell", "child", "grandchild")
        return {path.name: path.stat().st_mtime for name in names for path in self.jobs.glob(name)}

    def sleepers(self) -> list[int]:
        """Return the child processes that jobs have started."""
        return [int(path.name.partition("-")[2]) for path in self.jobs.glob("sleeper-*")]

    def close(self) -> None:
        """End everything."""
        for number in range(len(self._tokens)):
            self.end_worker(number)
        for client in self._clients:
            client.close()
        for worker in self._workers:
            worker.wait(10)


def wait_until(true: Callable[[], Any], within: float) -> bool:
    """Wait for a condition; says whether it came."""
    until = time.monotonic() + within
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(LOOK)
    return True


def alive(pid: int) -> bool:
    """Say whether a process is there and no zombie."""
    return _read(pid, "stat").rpartition(b")")[2].split()[:1] not in ([], [b"Z"], [b"X"])


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def complain(message: str) -> None:
    """Say something to whoever watches."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()
