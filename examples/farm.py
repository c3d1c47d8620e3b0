"""A Conveyor server and its agents as processes of this machine, for examples that need them."""

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

PATIENCE = 60.0


class NoFarmError(Exception):
    """The farm cannot be set up here: that says nothing about Conveyor."""


@dataclass
class Farm:
    """A server and its agents, as processes, for one queue. All they leave is in `folder`."""

    folder: Path
    queue: str
    url: str = ""
    server: subprocess.Popen[bytes] | None = None
    agents: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    names: dict[str | None, str] = field(default_factory=dict)
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def token(self, name: str, *scopes: str) -> str:
        """Make a token for the queue of this farm; return it."""
        rights = [argument for scope in scopes for argument in ("--scope", scope)]
        command = ["token", "create", name, *rights, "--queue", self.queue, "--url", self._database]
        made = subprocess.run(
            [sys.executable, "-m", "conveyor", *command],
            env=self._environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode:
            raise NoFarmError(f"no token could be made: {made.stderr.strip()}")
        return made.stdout.strip()

    def start_server(self) -> None:
        """Start the server: on any free port at first, on the same one after that."""
        port = self.url.rpartition(":")[2] or "0"
        args = ["server", "--url", self._database, "--port", port]
        self.server, said = self._start("server", args, r"server: (http://[^,\s]+)")
        self.url = said[1]

    def start_agent(self, name: str, labels: Sequence[str]) -> None:
        """Start an agent that runs one command at a time. It is given its token in a file."""
        secret = self.folder / f"{name}.token"
        secret.touch(mode=0o600)
        secret.write_text(self.token(name, "agent"))
        args = ["agent", "--server", self.url, "--token-file", str(secret), "--allow-commands"]
        args += ["--queue", self.queue, "--concurrency", "1", "--drain", "1"]
        args += [argument for label in labels for argument in ("--label", label)]
        self.agents[name], said = self._start(name, args, r"agent (\S+): \d+ slots")
        self.names[said[1]] = name

    def kill_server(self) -> None:
        """Kill the server, as a power cut would."""
        assert self.server is not None, "it was started"
        self.server.kill()
        self.server.wait()

    def kill_agent(self, name: str) -> None:
        """Kill an agent, as a power cut would."""
        self.agents[name].kill()
        self.agents[name].wait()

    def stop(self) -> None:
        """End everything; what does not listen is killed, with all that it runs."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end is near
        for process in reversed(self._started):
            process.terminate()
        for process in self._started:
            try:
                process.wait(PATIENCE / 4)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        # The keeper of an agent that was killed looks for the server for a minute.
        for pid in processes_with(f"TMPDIR={self._temporary}"):
            os.kill(pid, signal.SIGKILL)

    @property
    def _database(self) -> str:
        return str(self.folder / "jobs.db")

    @property
    def _temporary(self) -> Path:
        # What builds leave in the folder for temporary files goes with this farm.
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
                start_new_session=True,  # Ctrl-C is for this program, which ends them itself
            )  # fmt: skip
        self._started.append(process)  # at once: it may be interrupted while it starts
        deadline = time.monotonic() + PATIENCE
        while not (said := re.search(ready, log.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                raise NoFarmError(f"{name} did not start: {log.read_text().strip()}")
            time.sleep(0.02)
        return process, said


def processes_with(setting: str) -> list[int]:
    """Return the processes in whose environment a setting stands, like NAME=value (Linux)."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if setting.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:  # it has just ended, or is somebody else's
            continue
    return found


def wait_for(look: Callable[[], T], otherwise: str) -> T:
    """Look until there is something, and return it; TimeoutError if it takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(0.05)
    return found
