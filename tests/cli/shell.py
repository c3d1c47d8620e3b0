"""What calling the command line gives, and what tests do with processes of it."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from typing import Any, NamedTuple


class Ran(NamedTuple):
    """What a command gave."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Ran]
Start = Callable[..., "subprocess.Popen[str]"]
Until = Callable[..., None]


def serve(start: Start, *options: str) -> subprocess.Popen[str]:
    """Start a worker of the application, and return once it has said that it works."""
    worker = start("worker", "app:belt", "-c", "2", *options)
    read_line(worker, "worker ")
    return worker


def read_line(process: subprocess.Popen[str], beginning: str) -> str:
    """Return the next line on a process's stderr that begins like this, or kill it after 60 s."""
    assert process.stderr is not None
    deadline = threading.Timer(60, process.kill)
    deadline.start()
    try:
        for line in process.stderr:
            if line.startswith(beginning):
                return line
    finally:
        deadline.cancel()
    raise AssertionError(f"the process ended without a line that begins with {beginning!r}")
