"""How a process ended, seen by somebody who is not its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from conveyor.system.process_exit import (
    ExitWatcher,
    describe_exit,
    exit_status,
    oom_kills,
    open_pidfd,
    peak_memory,
)


def status(*, code: int = 0, by: int = 0) -> int:
    return code << 8 | by


@pytest.mark.parametrize(
    ("known", "peak", "killed", "text"),
    [
        (None, 0, False, ""),
        (status(code=3), 0, False, "it exited with 3"),
        (status(by=signal.SIGSEGV), 3 << 20, False, "SIGSEGV, its memory use peaked at 3 MiB"),
        (status(by=signal.SIGKILL), 0, False, "SIGKILL, possibly by the kernel's OOM killer"),
        (status(by=signal.SIGKILL), 0, True, "the kernel's OOM killer killed a process"),
        (None, 5 << 20, False, "its memory use peaked at 5 MiB"),
    ],
)  # fmt: skip
def test_an_exit_is_described_by_what_is_known(
    known: int | None, peak: int, killed: bool, text: str
) -> None:
    assert text in describe_exit(known, peak, out_of_memory=killed)


def test_other_processes_can_read_the_exit_status_of_a_zombie() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import os; os._exit(7)"])
    watcher = ExitWatcher(process.pid, open_pidfd(process.pid))
    assert watcher.wait(60)
    assert exit_status(process.pid, -1) == status(code=7)
    assert "exited with 7" in watcher.describe()
    assert process.wait() == 7


def test_a_watcher_describes_the_signal_and_the_memory(until: Callable[..., None]) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    watcher = ExitWatcher(process.pid, open_pidfd(process.pid))
    assert not watcher.wait(0)
    until(lambda: peak_memory(process.pid) > 1 << 20)
    watcher.sample_memory()
    process.kill()
    assert watcher.wait(60)
    text = watcher.describe()
    assert "killed by SIGKILL" in text
    assert "MiB" in text
    process.wait()


def test_nothing_is_known_of_a_process_that_does_not_exist() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert exit_status(gone.pid, -1) is None
    assert peak_memory(gone.pid) == 0
    assert ExitWatcher(gone.pid, open_pidfd(gone.pid)).describe() == ""
    assert oom_kills() is None or oom_kills() >= 0
    assert os.getpid()
