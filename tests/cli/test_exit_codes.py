"""How a worker exits whose results the store does not accept, and what its signals cannot break."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from conveyor import Conveyor, UnavailableError
from conveyor.cli.main import exit_code
from conveyor.cli.shared.exit_codes import UNREACHABLE
from conveyor.cli.shared.shutdown import Shutdown
from conveyor.cli.shared.signals import handle_signals
from conveyor.core.pending import Pending, failed
from conveyor.errors import (
    AccessError,
    ConveyorError,
    InvalidTransitionError,
    JobCancelledError,
    JobDiscardedError,
    NotFoundError,
    QueueFullError,
    UsageError,
    WaitTimeoutError,
)
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Claimant, Exchanged, Report, Want


class Unreachable(MemoryStore):
    """A store that accepts no report, for this reason."""

    reason: Exception = UnavailableError("no network")

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    def exchange(
        self, reports: Sequence[Report], wants: Sequence[Want], claimant: Claimant, *, limit: int
    ) -> Pending[Exchanged]:
        if reports:
            self.asked.set()
            return failed(self.reason)
        return super().exchange(reports, wants, claimant, limit=limit)

    def settle(self, reports: Sequence[Report]) -> Pending[list[str]]:
        return failed(self.reason)


class Refusing(Unreachable):
    """A store that refuses the token as soon as there is something to report."""

    reason = AccessError("unknown token", unknown=True)


def finish(kind: type[Unreachable]) -> int:
    """Run a job on a worker of such a store, end the worker, and return its exit code."""

    async def main() -> int:
        store = kind()
        belt = Conveyor(store=store)
        shutdown = Shutdown(asyncio.get_running_loop(), 0.0)
        worker = belt.worker()
        shutdown.attach(worker, "memory:")
        await belt.task(_one, name="one").aenqueue()
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(60):
            await store.asked.wait()
        if kind is Unreachable:  # then it ends by itself
            running.cancel()
        await asyncio.wait([running], timeout=60)
        return shutdown.finish()

    return asyncio.run(main())


async def _one() -> int:
    return 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no"), 2),
        (InvalidTransitionError("no"), 2),
        (AccessError("no"), 2),
        (NotFoundError("no"), 3),
        (UnavailableError("no"), 4),
        (WaitTimeoutError("no"), 5),
        (JobDiscardedError("id", "no"), 1),
        (JobCancelledError("id", "no"), 1),
        (QueueFullError("mail", 1, 1, 1), 1),
        (ConveyorError("no"), 1),
    ],
)
def test_each_error_has_its_exit_code(error: ConveyorError, code: int) -> None:
    assert exit_code(error) == code


def test_a_worker_that_could_not_deliver_a_result_says_so_and_does_not_exit_with_0(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert finish(Unreachable) == UNREACHABLE
    assert "1 result could not be delivered" in capsys.readouterr().err


def test_a_worker_whose_token_is_refused_stops_by_itself_and_says_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert finish(Refusing) == 2
    assert "the server refuses this agent: unknown token" in capsys.readouterr().err


def test_the_error_that_ended_a_worker_is_raised_once_its_jobs_are_returned() -> None:
    async def main() -> int:
        shutdown = Shutdown(asyncio.get_running_loop(), 0.0)
        shutdown.attach(Conveyor("memory:").worker(), "memory:")
        with shutdown.keep_failure():
            raise LookupError("a bug")
        return shutdown.finish()

    with pytest.raises(LookupError, match="a bug"):
        asyncio.run(main())


def hand_off(store: Path, code: int) -> subprocess.CompletedProcess[str]:
    """Run a program that hands off to its successor, as a worker with threads does at its exit."""
    program = (
        "import sys; sys.path[:] = sys.argv[3:]\n"
        "from conveyor.cli.shared.exec_handoff import hand_off_and_exit\n"
        "hand_off_and_exit(sys.argv[1], 'w', [], int(sys.argv[2]))"
    )
    return subprocess.run(
        [sys.executable, "-c", program, str(store), str(code), *sys.path],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(("code", "expected"), [(0, UNREACHABLE), (75, 75)])
def test_a_hand_off_that_the_store_does_not_accept_is_no_success(
    tmp_path: Path, code: int, expected: int
) -> None:
    not_a_store = tmp_path / "jobs.db"
    not_a_store.write_text("this is not a database")
    ran = hand_off(not_a_store, code)
    assert ran.returncode == expected
    assert "cannot return" in ran.stderr


def test_a_hand_off_that_the_store_does_not_answer_is_no_success(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with Conveyor(path) as belt:
        assert belt.store.counts().result() == []
    with open(f"{path}.lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert hand_off(path, 0).returncode == UNREACHABLE


def test_a_handler_that_fails_does_not_keep_the_next_signal_from_being_handled() -> None:
    seen: list[int] = []
    handled = threading.Event()

    def handle(number: signal.Signals, count: int) -> None:
        seen.append(count)
        handled.set()
        if count == 1:
            raise OSError("stderr is gone")

    before: Any = signal.getsignal(signal.SIGTERM)
    with handle_signals(handle):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            assert handled.wait(60)
            handled.clear()
    assert seen == [1, 2]
    assert signal.getsignal(signal.SIGTERM) == before
