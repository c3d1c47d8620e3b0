"""Starts a command as PID 1 of a PID namespace of its own, and looks at it from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import pytest

UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
AS_SOMEBODY = ("--user", "--map-root-user")


@cache
def unshare() -> tuple[str, ...]:
    """Return the words before a command that make it PID 1; the test fails where none do."""
    tried: list[str] = []
    for words in (UNSHARE, (*UNSHARE, *AS_SOMEBODY)):
        try:
            ran = subprocess.run(
                [*words, "true"], capture_output=True, text=True, timeout=30, check=False
            )
        except OSError as error:
            tried.append(str(error))
            continue
        if ran.returncode == 0:
            return words
        tried.append(ran.stderr.strip())
    pytest.fail(
        "being PID 1 has to be tested, and no PID namespace can be made here: "
        f"{'; '.join(tried)}. Be root, or allow user namespaces, and have util-linux."
    )


class Process(NamedTuple):
    """A process of the namespace, by its numbers outside."""

    pid: int
    parent: int
    started: int
    state: str


class First:
    """A command that runs as PID 1. What it says on stderr is in `said` once it has ended."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self._said = cwd / "stderr"
        with self._said.open("wb") as stderr:
            self.outer = subprocess.Popen(
                [*unshare(), *command],
                cwd=cwd,
                env=os.environ | (env or {}),
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        self.pid = self._find()
        self._namespace = os.readlink(f"/proc/{self.pid}/ns/pid")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.outer.kill()
        self.outer.wait()

    @property
    def said(self) -> str:
        return self._said.read_text()

    def send(self, number: signal.Signals) -> None:
        """Send PID 1 a signal, as a container's runtime does."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, seconds: float = 30) -> int:
        """Return the exit code; what remained in the namespace is then gone."""
        return self.outer.wait(seconds)

    def minds(self, number: signal.Signals) -> bool:
        """Whether a signal to PID 1 would not be dropped any more."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        masks = {line.partition(":")[0]: line.rpartition("\t")[2] for line in status.splitlines()}
        held = int(masks["SigBlk"], 16) | int(masks["SigCgt"], 16)
        if masks["Name"] == "unshare":  # not yet what it was started as
            return False
        # In sigwait(2) the kernel shows as unblocked what is waited for; an init has a child then.
        return bool(held >> (number - 1) & 1) or bool(_children(self.pid))

    def processes(self) -> list[Process]:
        """Return all processes of the namespace, PID 1 included."""
        found: list[Process] = []
        for entry in os.scandir("/proc"):
            with suppress(OSError):  # it has just ended
                if entry.name.isdigit() and os.readlink(f"{entry.path}/ns/pid") == self._namespace:
                    fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
                    found.append(
                        Process(int(entry.name), int(fields[1]), int(fields[19]), fields[0])
                    )
        return found

    def below(self) -> int:
        """Return the pid of PID 1's first child, once it has one."""
        return _first_child(self.pid)

    def _find(self) -> int:
        return _first_child(self.outer.pid)


def _first_child(pid: int) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        children = _children(pid)
        if children:
            return children[0]
        time.sleep(0.001)
    raise AssertionError(f"{pid} has no child")


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
