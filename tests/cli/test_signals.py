"""Signals reach a worker however it was started, and none that ends it costs a job an attempt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from shell import Until
from unstoppable_jobs import BRIEF, begin, open_belt

from conveyor import Conveyor, State
from conveyor.system.deadly_signals import DEADLY, with_default_action

pytestmark = pytest.mark.alone

Run = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def belt(folder: Path) -> Iterator[Conveyor]:
    yield from open_belt(folder)


@pytest.fixture
def run(folder: Path) -> Iterator[Run]:
    """Start a worker by a shell command, in which "$@" is the worker."""
    started: list[subprocess.Popen[bytes]] = []

    def start(script: str, **options: object) -> subprocess.Popen[bytes]:
        worker = [
            sys.executable,
            "-m",
            "conveyor",
            "worker",
            "stops:belt",
            "-c",
            "4",
            "--drain",
            "0.2",
        ]
        process = subprocess.Popen(
            ["sh", "-c", script, "sh", *worker],
            cwd=folder,
            **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options},  # type: ignore[call-overload]
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_for_worker(belt: Conveyor, until: Until) -> None:
    until(lambda: belt.store.workers().result())


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&- <&-"])
def test_a_worker_without_standard_streams_runs_all_kinds_and_stops(
    run: Run, belt: Conveyor, until: Until, closed: str
) -> None:
    worker = run(f'exec "$@" {closed}')
    command = belt.command("sh", "-c", "echo out; echo err >&2").enqueue()
    assert command.result(timeout=60) == {"exit_code": 0}
    assert sorted(command.logs().split()) == ["err", "out"]
    begin(belt, "deaf", until, grace=BRIEF)
    worker.terminate()
    assert worker.wait(30) == 75


def test_a_stderr_that_nobody_reads_does_not_keep_a_worker_from_stopping(
    run: Run, belt: Conveyor, until: Until
) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    worker = run('exec "$@" --log-level DEBUG', stderr=writing)
    wait_for_worker(belt, until)
    job = begin(belt, "stubborn", until, grace=BRIEF)
    worker.terminate()
    assert worker.wait(30) == 75
    assert (job.refresh().state, job.record.crashes) == (State.AVAILABLE, 0)
    os.close(reading)
    os.close(writing)


def test_a_signal_that_whoever_started_the_worker_has_blocked_stops_it(
    run: Run, belt: Conveyor, until: Until
) -> None:
    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

    worker = run('exec "$@"', preexec_fn=block)
    wait_for_worker(belt, until)
    worker.terminate()
    assert worker.wait(30) == 0


def test_a_hangup_drains_a_worker_and_another_does_not_hurry_it(
    run: Run, belt: Conveyor, until: Until
) -> None:
    worker = run('exec "$@" --drain 1')
    wait_for_worker(belt, until)
    job = begin(belt, "deaf", until, grace=BRIEF)
    for _ in range(3):
        worker.send_signal(signal.SIGHUP)
    assert worker.wait(30) == 75
    assert (job.refresh().state, job.record.crashes) == (State.AVAILABLE, 0)


def test_a_worker_under_nohup_ignores_a_hangup(run: Run, belt: Conveyor, until: Until) -> None:
    worker = run('trap "" HUP; exec "$@"')
    wait_for_worker(belt, until)
    worker.send_signal(signal.SIGHUP)
    assert belt.command("true").enqueue().result(timeout=60) == {"exit_code": 0}
    assert worker.poll() is None


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGUSR1])
def test_a_deadly_signal_ends_a_worker_as_usual_but_blames_no_job(
    run: Run, belt: Conveyor, until: Until, number: signal.Signals
) -> None:
    worker = run('ulimit -c 0; exec "$@"')
    wait_for_worker(belt, until)
    jobs = [begin(belt, name, until) for name in ("deaf", "blocks the loop")]
    worker.send_signal(number)
    assert worker.wait(30) == -number
    until(lambda: all(job.refresh().state is State.AVAILABLE for job in jobs))
    assert [(job.record.attempt, job.record.crashes) for job in jobs] == [(0, 0)] * 2


def test_a_stopped_command_is_told_to_end_within_its_grace(
    run: Run, belt: Conveyor, until: Until
) -> None:
    run('exec "$@"')
    job = belt.command("sh", "-c", "echo begun; kill -STOP $$; sleep 60").using(grace=20).enqueue()
    until(job.logs)
    assert job.cancel(wait=10)
    assert not any("SIGKILL" in note.text for note in job.refresh().record.stopping)


def test_a_signal_that_someone_handles_is_left_alone() -> None:
    assert signal.SIGUSR1 in with_default_action(DEADLY)
    program = (
        "import faulthandler, signal\n"
        "from conveyor.system.deadly_signals import DEADLY, with_default_action\n"
        "faulthandler.register(signal.SIGUSR1)\n"
        "signal.signal(signal.SIGUSR2, print)\n"
        "signal.signal(signal.SIGIO, signal.SIG_IGN)\n"
        "print(*[each.name for each in with_default_action(DEADLY)])"
    )
    left = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    assert "SIGQUIT" in left
    assert not {"SIGUSR1", "SIGUSR2", "SIGIO"} & set(left)


def test_the_signal_of_a_timer_is_blamed_on_the_jobs_one_of_which_has_set_it() -> None:
    assert not {signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF} & set(DEADLY)
