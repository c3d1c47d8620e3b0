"""A Conveyor server and agents as local processes, for examples that need them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

TIMEOUT = 60.0


class FarmSetupError(Exception):
    """The farm cannot be set up on this machine; this is not a failure of Conveyor."""


@dataclass
class Farm:
    """A server and its agents, as processes, for one queue. All their files are in `folder`."""

    folder: Path
    queue: str
    url: str = ""
    server: subprocess.Popen[bytes] | None = None
    agents: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    names: dict[str | None, str] = field(default_factory=dict)
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def token(self, name: str, *scopes: str) -> str:
        """Create and return a token for this farm's queue."""
        rights = [argument for scope in scopes for argument in ("--scope", scope)]
        command = ["token", "create", name, *rights, "--queue", self.queue, "--url", self._database]
        made = subprocess.run(
            [sys.executable, "-m", "conveyor", *command],
            env=self._environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode:
            raise FarmSetupError(f"cannot create a token: {made.stderr.strip()}")
        return made.stdout.strip()

    def start_server(self) -> None:
        """Start the server: on a free port the first time, then always on that port."""
        port = self.url.rpartition(":")[2] or "0"
        args = ["server", "--url", self._database, "--port", port]
        self.server, ready = self._start("server", args, r"server: (http://[^,\s]+)")
        self.url = ready[1]

    def start_agent(self, name: str, labels: Sequence[str]) -> None:
        """Start an agent that runs one command at a time and reads its token from a file."""
        secret = self.folder / f"{name}.token"
        secret.touch(mode=0o600)
        secret.write_text(self.token(name, "agent"))
        args = ["agent", "--server", self.url, "--token-file", str(secret), "--allow-commands"]
        args += ["--queue", self.queue, "--concurrency", "1", "--drain", "1"]
        args += [argument for label in labels for argument in ("--label", label)]
        self.agents[name], ready = self._start(name, args, r"agent (\S+): \d+ slots")
        self.names[ready[1]] = name

    def kill_server(self) -> None:
        """Kill the server with SIGKILL."""
        assert self.server is not None, "not started"
        self.server.kill()
        self.server.wait()

    def kill_agent(self, name: str) -> None:
        """Kill an agent with SIGKILL."""
        self.agents[name].kill()
        self.agents[name].wait()

    def stop(self) -> None:
        """Terminate all processes, and kill those that do not exit."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # already stopping
        for process in reversed(self._started):
            process.terminate()
        for process in self._started:
            try:
                process.wait(TIMEOUT / 4)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        # The sidecar of a killed agent retries the server for a minute.
        for pid in processes_with(f"TMPDIR={self._temporary}"):
            os.kill(pid, signal.SIGKILL)

    @property
    def _database(self) -> str:
        return str(self.folder / "jobs.db")

    @property
    def _temporary(self) -> Path:
        # Temporary files of builds are deleted with the farm.
        return self.folder / "tmp"

    @property
    def _environment(self) -> dict[str, str]:
        self._temporary.mkdir(exist_ok=True)
        own = {name: text for name, text in os.environ.items() if not name.startswith("CONVEYOR_")}
        return {**own, "TMPDIR": str(self._temporary)}

    def _start(
        self, name: str, args: Sequence[str], ready: str
    ) -> tuple[subprocess.Popen[bytes], re.Match[str]]:
        log = self.folder / f"{name}.log"
        with log.open("wb") as target:
            process = subprocess.Popen(
                [sys.executable, "-m", "conveyor", *args],
                stdout=target, stderr=subprocess.STDOUT, cwd=self.folder, env=self._environment,
                start_new_session=True,  # Ctrl-C goes to this program only, which stops them
            )  # fmt: skip
        self._started.append(process)  # before waiting, which can be interrupted
        deadline = time.monotonic() + TIMEOUT
        while not (found := re.search(ready, log.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                raise FarmSetupError(f"{name} did not start: {log.read_text().strip()}")
            time.sleep(0.02)
        return process, found


def processes_with(setting: str) -> list[int]:
    """Return the processes with a variable, like NAME=value, in their environment (Linux)."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if setting.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:  # exited, or owned by another user
            continue
    return found


def wait_for(poll: Callable[[], T], error: str) -> T:
    """Poll until the result is true, and return it; raise TimeoutError if it takes too long."""
    deadline = time.monotonic() + TIMEOUT
    while not (found := poll()):
        if time.monotonic() > deadline:
            raise TimeoutError(error)
        time.sleep(0.05)
    return found
