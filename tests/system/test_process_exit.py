"""How a process ended, seen by somebody who is not its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from conveyor.system.process_exit import Witness, evidence, exit_status, oom_kills, open_pidfd, peak


def status(*, code: int = 0, by: int = 0) -> int:
    return code << 8 | by


@pytest.mark.parametrize(
    ("known", "most", "killed", "said"),
    [
        (None, 0, False, ""),
        (status(code=3), 0, False, "it exited with 3"),
        (status(by=signal.SIGSEGV), 3 << 20, False, "killed by SIGSEGV, it was seen to use 3 MiB"),
        (status(by=signal.SIGKILL), 0, False, "SIGKILL, which is also what the kernel does"),
        (status(by=signal.SIGKILL), 0, True, "the kernel killed for want of memory"),
        (None, 5 << 20, False, "it was seen to use 5 MiB"),
    ],
)  # fmt: skip
def test_what_is_known_is_put_into_words(
    known: int | None, most: int, killed: bool, said: str
) -> None:
    assert said in evidence(known, most, out_of_memory=killed)


def test_the_status_of_a_zombie_can_be_read_by_others() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import os; os._exit(7)"])
    witness = Witness(process.pid, open_pidfd(process.pid))
    assert witness.wait(20)
    assert exit_status(process.pid, -1) == status(code=7)
    assert "exited with 7" in witness.tell()
    assert process.wait() == 7


def test_a_witness_knows_the_signal_and_the_memory(until: Callable[..., None]) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    witness = Witness(process.pid, open_pidfd(process.pid))
    assert not witness.wait(0)
    until(lambda: peak(process.pid) > 1 << 20)
    witness.look()
    process.kill()
    assert witness.wait(20)
    told = witness.tell()
    assert "killed by SIGKILL" in told
    assert "MiB" in told
    process.wait()


def test_of_a_process_that_is_not_there_nothing_is_known() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert exit_status(gone.pid, -1) is None
    assert peak(gone.pid) == 0
    assert Witness(gone.pid, open_pidfd(gone.pid)).tell() == ""
    assert oom_kills() is None or oom_kills() >= 0
    assert os.getpid()
