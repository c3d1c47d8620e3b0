"""A folder with an application, and the command line called in it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shell import Command, Ran

from conveyor import Conveyor
from conveyor.cli.main import run

APP = """
import sys
import time

from conveyor import Conveyor, current_job

belt = Conveyor("jobs.db")
mail = belt.queue("mail")
small = belt.queue("small", capacity=1)


@mail.task(name="send", retries=0)
def send(to: str, times: int = 1) -> str:
    print("sending to", to)
    print("careful", file=sys.stderr)
    if to == "nobody":
        raise LookupError("no such person")
    return f"{to} x{times}"


@mail.task(name="shop.pack", requires=["gpu"])
async def pack() -> None: ...


@small.task(name="tiny")
async def tiny() -> None: ...


@mail.task(name="steps")
def steps() -> None:
    for number in range(3):
        print("step", number, flush=True)
        current_job().progress(number + 1, 3, "stepping")
        current_job().sleep(0.05)


@belt.schedule("@daily", timezone="Europe/Berlin", name="nightly")
@mail.task(name="report")
def report() -> None: ...
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in an empty folder with an application, and with no settings from outside."""
    (tmp_path / "app.py").write_text(APP)
    for name in list(os.environ):
        if name.startswith("CONVEYOR_") or name == "NO_COLOR":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def conveyor(folder: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    """Call the command line in this process, which is several times faster than a new one."""

    def forget_modules() -> None:
        """Forget what this folder has, because another test has modules of these names, too."""
        own = {path.stem for path in folder.glob("*.py")}
        own |= {path.parent.name for path in folder.glob("*/__init__.py")}
        for name in [name for name in sys.modules if name.partition(".")[0] in own]:
            del sys.modules[name]

    def call(*args: object) -> Ran:
        capfd.readouterr()
        path = list(sys.path)
        forget_modules()
        try:
            code = run([str(arg) for arg in args])
        finally:
            sys.path[:] = path
            forget_modules()
        return Ran(code, *capfd.readouterr())

    return call


@pytest.fixture
def really(folder: Path) -> Command:
    """Call the command line in a new process: for signals, exit paths and imports."""

    def call(*args: object, **environment: str) -> Ran:
        command = [sys.executable, "-m", "conveyor", *map(str, args)]
        ran = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=os.environ | environment,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    return call


@pytest.fixture
def belt(folder: Path) -> Iterator[Conveyor]:
    """The application's belt, in this process."""
    namespace: dict[str, Any] = {"__name__": "app"}
    exec((folder / "app.py").read_text(), namespace)
    opened: Conveyor = namespace["belt"]
    yield opened
    opened.close()


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command line in a process of its own; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(*args: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "conveyor", *args],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Take back what a command sets up: it logs to a stream that ends with its test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
