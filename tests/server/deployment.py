"""A server and its agents as real processes, on free ports, in a temporary directory."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Protocol, TypeVar

import pytest

from conveyor.core.access import issue_token
from conveyor.server.serve import Bind, Server
from conveyor.server.server_config import ServerConfig
from conveyor.store.http.store import HttpStore
from conveyor.store.open import open_store
from conveyor.store.protocol import Store
from reserved_port import ReservedPort

PATIENCE = 60.0
# What tests are given that run on each store, and only in the long drills on PostgreSQL.
ON_EACH_STORE = pytest.mark.parametrize("deployment", ["sqlite", "postgres"], indirect=True)
ALSO_SLOWLY_ON_POSTGRES = pytest.mark.parametrize(
    "deployment", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)], indirect=True
)


class Closing(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=Closing)
HERE = Path(__file__).parent


class Process:
    """One `conveyor` command, with its output in a file."""

    def __init__(
        self,
        folder: Path,
        name: str,
        args: Sequence[str],
        env: dict[str, str],
        within: Sequence[str] = (),
    ) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                [*within, sys.executable, "-m", "conveyor", *args],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=HERE,
                env=os.environ | env,
            )

    @property
    def name(self) -> str:
        """The name of an agent's worker."""
        return self.wait_for_output(r"agent (\S+): \d+ slots")[1]

    def wait_for_output(self, pattern: str) -> re.Match[str]:
        """Wait until its output matches a pattern."""
        deadline = monotonic() + PATIENCE
        while (found := re.search(pattern, self.log.read_text())) is None:
            assert self.popen.poll() is None, f"it ended: {self.log.read_text()}"
            assert monotonic() < deadline, f"no {pattern!r} in {self.log.read_text()}"
            sleep(0.01)
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait, return the exit code."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        return self.popen.wait(PATIENCE)


class ServerThread:
    """The same server as `conveyor server`, with its maintenance, but in a thread: no start-up."""

    def __init__(self, store: Store, *, tokens: bool) -> None:
        self._store = store
        self._server = Server(store, Bind(port=0), tokens=tokens, config=ServerConfig())
        listening, self.url = self._server.listen()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.run(listening)))
        self._thread.start()

    def close(self) -> None:
        self._server.stop()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the server does not stop"
        self._store.close()


class Deployment:
    """A store, its tokens, servers and agents. `close` ends them all."""

    def __init__(self, folder: Path, *, tokens: bool = True, store: str = "") -> None:
        self.folder = folder
        self.db = folder / "jobs.db"
        self.store_url = store or str(self.db)
        self.processes: list[Process] = []
        self.url = ""
        # Words before what is started from now on, which say where.
        self.within: tuple[str, ...] = ()
        self._closing: list[Closing] = []
        self.port = self.closing(ReservedPort()).number
        self._server_thread: ServerThread | None = None
        self._tokens = tokens
        self.admin = self.token("admin") if tokens else ""

    def token(self, *scopes: str, queues: Sequence[str] = ()) -> str:
        """Make a token in the store itself."""
        store = open_store(self.store_url)
        text, token = issue_token("-".join(scopes), scopes, queues, now=store.now())
        store.add_token(token).result()
        store.close()
        return text

    def server(self, *args: str, **env: str) -> Process:
        """Start a server; a second time on the same port."""
        process = self._start(
            "server",
            ["server", "--url", self.store_url, "--port", str(self.port), *args],
            env,
        )
        self.url = process.wait_for_output(r"server: (https?://\S+),")[1]
        self.port = int(self.url.rpartition(":")[2])
        return process

    def server_thread(self) -> None:
        """Start a server in this process, for tests that do not stop it."""
        server = ServerThread(open_store(self.store_url), tokens=self._tokens)
        self.url = server.url
        self.port = int(server.url.rpartition(":")[2])
        self._server_thread = server

    def another_server(self, *args: str) -> tuple[Process, str]:
        """Start one more server of the same store on a free port; return its URL, too."""
        process = self._start(
            "server", ["server", "--url", self.store_url, "--port", "0", *args], {}
        )
        return process, process.wait_for_output(r"server: (https?://\S+),")[1]

    def agent(
        self,
        *args: str,
        token: str | None = None,
        url: str = "",
        commands: bool = True,
        begins: bool = True,
        **env: str,
    ) -> Process:
        """Start an agent, and wait until it works unless it never `begins`."""
        file = self.folder / f"token-{len(self.processes)}"
        file.write_text(token or (self.token("agent") if self._tokens else ""))
        given = ["agent", "--server", url or self.url, "--token-file", str(file), *args]
        allowed = ["--allow-commands"] if commands else []
        process = self._start("agent", [*given, *allowed], env)
        if begins:
            process.wait_for_output(r"agent \S+: \d+ slots")
        return process

    def agent_without_token_file(self, **env: str) -> Process:
        """Start an agent with a token in its environment."""
        return self._start("agent", ["agent", "--server", self.url, "--allow-commands"], env)

    def run(self, *args: str) -> Process:
        """Start some other command of a program that uses the server."""
        return self._start(args[0], [*args, "--url", self.url], {"CONVEYOR_TOKEN": self.admin})

    def store(self, token: str = "") -> HttpStore:
        """Open the server's store."""
        return self.closing(HttpStore(self.url, token=token or self.admin))

    def closing(self, thing: C) -> C:
        """Have something closed at the end."""
        self._closing.append(thing)
        return thing

    def close(self) -> None:
        for thing in self._closing:
            thing.close()
        for process in reversed(self.processes):
            if process.popen.poll() is None:
                process.popen.kill()
                process.popen.send_signal(signal.SIGCONT)
                process.popen.wait(PATIENCE)
        if self._server_thread is not None:
            self._server_thread.close()

    def _start(self, name: str, args: Sequence[str], env: dict[str, str]) -> Process:
        number = len(self.processes)
        process = Process(self.folder, f"{name}-{number}", args, env, self.within)
        self.processes.append(process)
        return process


@contextmanager
def deployed(request: pytest.FixtureRequest, kind: str, folder: Path) -> Iterator[Deployment]:
    """Have a deployment on a store of a kind, and end it with the test."""
    with ExitStack() as stack:
        url = ""
        if kind == "postgres":
            url = stack.enter_context(request.getfixturevalue("schemas").one())
        made = Deployment(folder, store=url)
        stack.callback(made.close)
        yield made


def wait_for(done: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until something outside this process is so."""
    deadline = monotonic() + seconds
    while not done():
        assert monotonic() < deadline, "it did not happen in time"
        sleep(0.01)
