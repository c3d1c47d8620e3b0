"""How signals and orders pause, drain and stop a worker, step by step."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import Command, Start, Until, read_line
from unstoppable_jobs import BRIEF, begin, open_belt, serve

from conveyor import Conveyor, State
from conveyor.cli.shared.shutdown import describe_phase
from conveyor.core.job import JobRecord

pytestmark = pytest.mark.alone


@pytest.fixture
def belt(folder: Path) -> Iterator[Conveyor]:
    yield from open_belt(folder)


def workers(conveyor: Command) -> list[dict[str, object]]:
    found: list[dict[str, object]] = conveyor("workers", "--json").data
    return found


def test_threads_that_do_not_listen_are_handed_back_as_the_process_ends(
    start: Start, belt: Conveyor, until: Until, conveyor: Command
) -> None:
    worker = serve(start)
    jobs = [begin(belt, name, until, grace=BRIEF) for name in ("deaf", "stubborn")]
    cancelled = begin(belt, "deaf", until, grace=BRIEF, on_shutdown="cancel")
    worker.terminate()
    said = [read_line(worker, beginning) for beginning in ("draining", "stopping 3", "exiting")]
    assert said[2].startswith("exiting with 3 running jobs that did not stop")
    assert worker.wait(30) == 75
    for job in jobs:
        record = job.refresh().record
        assert (record.state, record.attempt, record.crashes) == (State.AVAILABLE, 0, 0)
    assert cancelled.refresh().state is State.CANCELLED
    assert workers(conveyor) == []
    assert list(Path("jobs.db.workers").iterdir()) == []


def test_a_job_that_blocks_the_loop_does_not_keep_the_worker_alone_or_beside_a_command(
    start: Start, belt: Conveyor, until: Until
) -> None:
    alone, beside = serve(start, "--queue", "alone"), serve(start, "--queue", "beside")
    command = belt.command("sh", "-c", "echo begun; exec sleep 60", queue="beside").enqueue()
    until(command.logs)
    jobs = [begin(belt, "blocks the loop", until, queue=queue) for queue in ("alone", "beside")]
    for worker in (alone, beside):
        worker.terminate()
    read_line(alone, "forced exit: a job or a slow disk blocks the worker's event loop")
    assert "0 jobs ended, 1 returned to the queue" in read_line(alone, "worker ")
    for worker in (alone, beside):
        assert worker.wait(30) == 75
    for job in (command, *jobs):
        record = job.refresh().record
        assert (record.state, record.attempt, record.crashes) == (State.AVAILABLE, 0, 0)


def test_a_third_signal_is_obeyed_while_the_loop_is_blocked_and_a_command_runs(
    start: Start, belt: Conveyor, until: Until
) -> None:
    worker = serve(start, "--drain", "60")
    until(belt.command("sh", "-c", "echo begun; exec sleep 60").enqueue().logs)
    begin(belt, "blocks the loop", until)
    for said in ("SIGINT: stopping", "SIGINT again", "SIGINT a third time"):
        worker.send_signal(signal.SIGINT)
        read_line(worker, said)
    assert worker.wait(30) == 128 + signal.SIGINT


def test_what_a_coroutine_has_given_to_a_thread_does_not_keep_the_worker(
    start: Start, belt: Conveyor, until: Until
) -> None:
    worker = serve(start)
    job = begin(belt, "in a thread", until)
    worker.terminate()
    read_line(worker, "exiting: threads are still running")
    assert worker.wait(60) == 75
    record = job.refresh().record
    assert (record.state, record.attempt, record.crashes) == (State.AVAILABLE, 0, 0)


@pytest.mark.parametrize(("name", "code"), [("tracks", 75), ("deaf", 75), ("quick", 0)])
def test_a_worker_to_which_nobody_listens_any_more_stops_all_the_same(
    start: Start, belt: Conveyor, until: Until, name: str, code: int
) -> None:
    worker = serve(start)
    assert worker.stderr is not None
    worker.stderr.close()
    job = belt.functions[name].using(grace=BRIEF).enqueue(*([60.0] if name == "deaf" else []))
    until(lambda: job.refresh().state is State.COMPLETED or job.logs())
    worker.terminate()
    assert worker.wait(60) == code


def test_a_worker_that_can_write_no_temporary_file_hands_its_threads_jobs_back(
    start: Start, belt: Conveyor, until: Until
) -> None:
    with Path("stops.py").open("a") as file:
        file.write('import tempfile\ntempfile.tempdir = "/nowhere"\n')
    worker = serve(start)
    job = begin(belt, "deaf", until, grace=BRIEF)
    worker.terminate()
    assert worker.wait(60) == 75
    assert job.refresh().state is State.AVAILABLE


def test_a_second_signal_stops_what_runs_and_a_third_leaves_at_once(
    start: Start, belt: Conveyor, until: Until
) -> None:
    worker = serve(start, "--drain", "60")
    job = begin(belt, "deaf", until)
    worker.terminate()
    read_line(worker, "draining: no new jobs; 1 running job, up to 60 s to finish")
    worker.send_signal(signal.SIGINT)
    read_line(worker, "stopping 1 running job,")
    worker.terminate()
    assert worker.wait(30) == 128 + signal.SIGTERM
    # The sidecar returns the job; the requested exit does not count as a crash.
    until(lambda: job.refresh().state is State.AVAILABLE)
    assert (job.record.attempt, job.record.crashes) == (0, 0)


def test_a_forced_stop_ends_with_the_signal_s_code(
    start: Start, belt: Conveyor, until: Until
) -> None:
    worker = serve(start, "--drain", "60")
    job = belt.functions["tracks"].enqueue()
    until(job.logs)
    for _ in range(2):
        worker.send_signal(signal.SIGINT)
        read_line(worker, "SIGINT")
    assert worker.wait(30) == 128 + signal.SIGINT
    assert job.refresh().state is State.AVAILABLE


def test_sigtstp_makes_a_worker_quiet_and_sigcont_resumes_it(
    start: Start, belt: Conveyor, until: Until, conveyor: Command
) -> None:
    worker = serve(start)
    until(lambda: workers(conveyor))
    worker.send_signal(signal.SIGTSTP)
    read_line(worker, "quiet: no new jobs")
    until(lambda: workers(conveyor)[0]["quiet"])
    job = belt.functions["quick"].enqueue()
    assert "is quiet: `conveyor workers resume" in conveyor("why", job.id).out
    assert "\tquiet\t" in conveyor("workers").out
    worker.send_signal(signal.SIGCONT)
    read_line(worker, "resumed")
    assert job.wait(60).state is State.COMPLETED
    worker.terminate()
    assert worker.wait(30) == 0


def test_a_worker_is_made_quiet_by_command_and_told_by_the_beginning_of_its_name(
    start: Start, belt: Conveyor, until: Until, conveyor: Command
) -> None:
    worker = serve(start)
    until(lambda: workers(conveyor))
    name = str(workers(conveyor)[0]["id"])
    assert conveyor("workers", "quiet", name[:-2]).code == 0
    read_line(worker, "quiet")
    job = belt.functions["quick"].enqueue()
    assert conveyor("workers", "resume", name).code == 0
    read_line(worker, "resumed")
    assert job.wait(60).state is State.COMPLETED
    wrong = conveyor("workers", "quiet", "nobody")
    assert wrong.code == 3
    assert f"matches no workers; known workers: {name}" in wrong.err
    assert conveyor("workers", "quiet").code == 2


def test_many_running_jobs_are_counted_rather_than_named() -> None:
    running = [
        JobRecord(
            seq=number, id=f"job-{number}", task="t", queue="q", args=b"", state=State.RUNNING,
            priority=0, run_at=0.0, enqueued_at=0.0,
        )
        for number in range(12)
    ]  # fmt: skip
    said = describe_phase("draining", running, 25.0)
    assert said[0] == "draining: no new jobs; 12 running jobs, up to 25 s to finish"
    assert said[-1] == "  and 2 more"
    assert len(said) == 12


# The signal arrives, and its action is attempted, before there is a worker.
EARLY = """
import asyncio, signal, sys
from stops import belt
from conveyor.cli.shared.shutdown import Shutdown

async def serve():
    shutdown = Shutdown(asyncio.get_running_loop(), drain=60.0)
    shutdown.handle_signal(signal.SIGTERM, 1)
    await asyncio.sleep(0)
    worker = belt.worker()
    shutdown.attach(worker, belt.url)
    await worker.run()
    return shutdown

shutdown = asyncio.run(serve())
belt.close()
sys.exit(shutdown.finish())
"""


def test_a_signal_that_comes_before_there_is_a_worker_drains_it_once_it_is_there(
    folder: Path, belt: Conveyor
) -> None:
    job = belt.functions["quick"].enqueue()
    argv = [sys.executable, "-c", EARLY]
    ran = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=30)
    assert ran.returncode == 0, ran.stderr
    assert "no new jobs; 0 running jobs" in ran.stderr
    assert "0 jobs ended, 0 returned to the queue" in ran.stderr
    assert job.refresh().state is State.AVAILABLE
