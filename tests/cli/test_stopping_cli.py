"""How workers and jobs are stopped from outside: by signals, step by step, and by commands."""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shell import Command

from conveyor import Conveyor, State
from conveyor.cli import cancel
from conveyor.cli.shared.shutdown import words
from conveyor.client.job_handle import Job
from conveyor.core.job import JobRecord

Start = Callable[..., "subprocess.Popen[str]"]
Until = Callable[..., None]

APP = """
import asyncio, os, time

from conveyor import Conveyor, current_job

belt = Conveyor("jobs.db")


def begin() -> None:
    print("begun", flush=True)


@belt.task(name="deaf")
def deaf(seconds: float) -> None:
    begin()
    time.sleep(seconds)


@belt.task(name="blocks the loop")
async def blocks(seconds: float) -> None:
    os.close(os.open(f"begun-{current_job().id}", os.O_CREAT))
    time.sleep(seconds)


@belt.task(name="stubborn")
async def stubborn(seconds: float) -> None:
    begin()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            continue


@belt.task(name="tracks")
def tracks() -> None:
    for _ in current_job().track(range(100_000)):
        begin()
        time.sleep(0.01)


@belt.task(name="quick")
async def quick() -> int:
    return 1


@belt.task(name="in a thread")
async def in_a_thread(seconds: float) -> None:
    begin()
    await asyncio.to_thread(time.sleep, seconds)
"""


@pytest.fixture
def belt(folder: Path) -> Iterator[Conveyor]:
    """A belt of this process on the same file; the jobs' code is in the workers alone."""
    (folder / "stops.py").write_text(APP)
    opened = Conveyor("jobs.db")
    for name in ("deaf", "blocks the loop", "stubborn", "in a thread"):
        opened.task(name=name)(_takes_seconds)
    for name in ("tracks", "quick"):
        opened.task(name=name)(_takes_nothing)
    yield opened
    opened.close()


def _takes_seconds(seconds: float) -> None: ...


def _takes_nothing() -> None: ...


def serve(start: Start, *options: str) -> subprocess.Popen[str]:
    worker = start("worker", "stops:belt", "-c", "4", "--drain", "0.2", *options)
    heard(worker, "worker ")
    return worker


def heard(worker: subprocess.Popen[str], beginning: str) -> str:
    """Return the next line of a worker's stderr that begins so."""
    assert worker.stderr is not None
    for line in worker.stderr:
        if line.startswith(beginning):
            return line
    raise AssertionError(f"the worker ended without saying {beginning!r}")


def begin(belt: Conveyor, name: str, until: Until, **options: Any) -> Job[None]:
    job: Job[None] = belt.functions[name].using(**options).enqueue(60.0)
    until(lambda: job.logs() or Path(f"begun-{job.id}").exists())
    return job


def workers(conveyor: Command) -> list[dict[str, object]]:
    found: list[dict[str, object]] = conveyor("workers", "--json").data
    return found


def test_threads_that_do_not_listen_are_handed_back_as_the_process_ends(
    start: Start, belt: Conveyor, until: Until, conveyor: Command
) -> None:
    worker = serve(start)
    jobs = [begin(belt, name, until) for name in ("deaf", "stubborn")]
    cancelled = begin(belt, "deaf", until, on_shutdown="cancel")
    worker.terminate()
    said = [heard(worker, beginning) for beginning in ("no new jobs", "stopping 3", "leaving")]
    assert said[2].startswith("leaving without 3 job(s)")
    assert worker.wait(30) == 75
    for job in jobs:
        record = job.refresh().record
        assert (record.state, record.attempt, record.crashes) == (State.AVAILABLE, 0, 0)
    assert cancelled.refresh().state is State.CANCELLED
    assert workers(conveyor) == []
    assert list(Path("jobs.db.workers").iterdir()) == []


def test_a_job_that_blocks_the_loop_does_not_keep_the_worker(
    start: Start, belt: Conveyor, until: Until
) -> None:
    worker = serve(start)
    job = begin(belt, "blocks the loop", until)
    worker.terminate()
    heard(worker, "a job, or a disk, blocks the worker's event loop")
    assert "0 ended, 1 handed back" in heard(worker, "worker ")
    assert worker.wait(30) == 75
    record = job.refresh().record
    assert (record.state, record.attempt, record.crashes) == (State.AVAILABLE, 0, 0)


def test_a_blocked_loop_is_left_also_while_a_command_runs(
    start: Start, belt: Conveyor, until: Until
) -> None:
    worker = serve(start)
    command = belt.command("sh", "-c", "echo begun; exec sleep 60").enqueue()
    until(command.logs)
    job = begin(belt, "blocks the loop", until)
    worker.terminate()
    assert worker.wait(30) == 75
    for each in (command.refresh().record, job.refresh().record):
        assert (each.state, each.attempt, each.crashes) == (State.AVAILABLE, 0, 0)


def test_a_third_signal_is_obeyed_while_the_loop_is_blocked_and_a_command_runs(
    start: Start, belt: Conveyor, until: Until
) -> None:
    worker = serve(start, "--drain", "60")
    until(belt.command("sh", "-c", "echo begun; exec sleep 60").enqueue().logs)
    begin(belt, "blocks the loop", until)
    for said in ("SIGINT: stopping", "SIGINT again", "SIGINT once more"):
        worker.send_signal(signal.SIGINT)
        heard(worker, said)
    assert worker.wait(3) == 128 + signal.SIGINT


def test_what_a_coroutine_has_given_to_a_thread_does_not_keep_the_worker(
    start: Start, belt: Conveyor, until: Until
) -> None:
    worker = serve(start)
    job = begin(belt, "in a thread", until)
    worker.terminate()
    heard(worker, "threads go on")
    assert worker.wait(20) == 75
    record = job.refresh().record
    assert (record.state, record.attempt, record.crashes) == (State.AVAILABLE, 0, 0)


@pytest.mark.parametrize(("name", "code"), [("tracks", 75), ("deaf", 75), ("quick", 0)])
def test_a_worker_to_which_nobody_listens_any_more_stops_all_the_same(
    start: Start, belt: Conveyor, until: Until, name: str, code: int
) -> None:
    worker = serve(start)
    assert worker.stderr is not None
    worker.stderr.close()
    job = belt.functions[name].enqueue(*([60.0] if name == "deaf" else []))
    until(lambda: job.refresh().state is State.COMPLETED or job.logs())
    worker.terminate()
    assert worker.wait(20) == code


def test_a_worker_that_can_write_no_temporary_file_hands_its_threads_jobs_back(
    start: Start, belt: Conveyor, until: Until
) -> None:
    with Path("stops.py").open("a") as file:
        file.write('import tempfile\ntempfile.tempdir = "/nowhere"\n')
    worker = serve(start)
    job = begin(belt, "deaf", until)
    worker.terminate()
    assert worker.wait(20) == 75
    assert job.refresh().state is State.AVAILABLE


def test_a_second_signal_stops_what_runs_and_a_third_leaves_at_once(
    start: Start, belt: Conveyor, until: Until
) -> None:
    worker = serve(start, "--drain", "60")
    job = begin(belt, "deaf", until)
    worker.terminate()
    heard(worker, "no new jobs; 1 running may take 60 s")
    worker.send_signal(signal.SIGINT)
    heard(worker, "stopping 1 running job(s)")
    worker.terminate()
    assert worker.wait(30) == 128 + signal.SIGTERM
    # Its keeper hands the job back, and blames nobody for the end that was asked for.
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
        heard(worker, "SIGINT")
    assert worker.wait(30) == 128 + signal.SIGINT
    assert job.refresh().state is State.AVAILABLE


def test_sigtstp_makes_a_worker_quiet_and_sigcont_resumes_it(
    start: Start, belt: Conveyor, until: Until, conveyor: Command
) -> None:
    worker = serve(start)
    until(lambda: workers(conveyor))
    worker.send_signal(signal.SIGTSTP)
    heard(worker, "quiet: no new jobs")
    until(lambda: workers(conveyor)[0]["quiet"])
    job = belt.functions["quick"].enqueue()
    assert "is quiet: `conveyor workers resume" in conveyor("why", job.id).out
    assert "\tquiet\t" in conveyor("workers").out
    worker.send_signal(signal.SIGCONT)
    heard(worker, "resumed")
    assert job.wait(20).state is State.COMPLETED
    worker.terminate()
    assert worker.wait(30) == 0


def test_a_worker_is_made_quiet_by_command_and_told_by_the_beginning_of_its_name(
    start: Start, belt: Conveyor, until: Until, conveyor: Command
) -> None:
    worker = serve(start)
    until(lambda: workers(conveyor))
    name = str(workers(conveyor)[0]["id"])
    assert conveyor("workers", "quiet", name[:-2]).code == 0
    heard(worker, "quiet")
    job = belt.functions["quick"].enqueue()
    assert conveyor("workers", "resume", name).code == 0
    heard(worker, "resumed")
    assert job.wait(20).state is State.COMPLETED
    wrong = conveyor("workers", "quiet", "nobody")
    assert wrong.code == 3
    assert f"fits 0 workers; there are: {name}" in wrong.err
    assert conveyor("workers", "quiet").code == 2


def test_a_job_that_goes_on_says_so_with_its_age_wherever_one_looks(
    start: Start, belt: Conveyor, until: Until, conveyor: Command
) -> None:
    serve(start)
    job = begin(belt, "deaf", until)
    assert conveyor("cancel", job.id).out == f"{job.id} cancelling\n"
    until(lambda: "runs in a thread" in conveyor("ps").out)
    line = next(each for each in conveyor("ps").out.splitlines() if each.startswith(job.id))
    assert line.split("\t")[1].startswith("cancelling ")
    assert "its code still runs in" in conveyor("why", job.id).out
    assert "it runs in a thread, which can only be asked" in conveyor("why", job.id).out
    forced = conveyor("cancel", job.id, "--force", "--wait", "0.5")
    assert forced.code == 1
    assert "only the end of its worker ends it" in forced.err
    assert job.refresh().state is State.RUNNING
    shown = conveyor("show", job.id).out
    assert "asked to stop (cancel): cancelled by conveyor cancel" in shown
    assert "its grace is not waited for" in shown


def test_a_loop_over_track_says_how_far_it_is_and_stops_when_asked(
    start: Start, belt: Conveyor, until: Until, conveyor: Command
) -> None:
    serve(start)
    job = belt.functions["tracks"].enqueue()
    until(lambda: job.refresh().progress)
    assert job.progress is not None
    assert job.progress.total == 100_000
    ran = conveyor("cancel", job.id, "--wait", 20)
    assert (ran.code, ran.out) == (0, f"{job.id} cancelled\n")


def test_many_running_jobs_are_counted_rather_than_named() -> None:
    running = [
        JobRecord(
            seq=number, id=f"job-{number}", task="t", queue="q", args=b"", state=State.RUNNING,
            priority=0, run_at=0.0, enqueued_at=0.0,
        )
        for number in range(12)
    ]  # fmt: skip
    said = words("draining", running, 25.0).splitlines()
    assert said[0] == "no new jobs; 12 running may take 25 s"
    assert said[-1] == "  and 2 more"
    assert len(said) == 12


# -- cancel by filter ------------------------------------------------------------------------------


@pytest.fixture
def waiting(belt: Conveyor) -> list[Job[None]]:
    """Five jobs of one task, and two of another."""
    many = belt.functions["deaf"].enqueue_many([(1.0,)] * 5)
    return [*many, *belt.functions["quick"].enqueue_many([()] * 2)]


def test_a_filter_asks_for_yes_where_nobody_can_be_asked(
    really: Command, conveyor: Command, waiting: list[Job[None]]
) -> None:
    ran = really("cancel", "--task", "deaf")
    assert ran.code == 2
    assert "Cancel 5 job(s)? Nobody can be asked here: say --yes." in ran.err
    assert {job.refresh().state for job in waiting} == {State.AVAILABLE}
    assert conveyor("cancel", "--task", "deaf", "--yes").out == "5 cancelled\n"
    states = [job.refresh().state for job in waiting]
    assert states == [State.CANCELLED] * 5 + [State.AVAILABLE] * 2
    # What has ended already fits no filter.
    assert conveyor("cancel", "--queue", "default", "--yes", "--json").data == {"cancelled": 2}
    assert conveyor("cancel", "--queue", "default", "--yes").out == "no jobs\n"


def test_older_leaves_the_young_ones(conveyor: Command, waiting: list[Job[None]]) -> None:
    assert conveyor("cancel", "--older", "1h", "--yes").out == "no jobs\n"
    assert conveyor("cancel", "--older", "0.000001", "--yes").out == f"{len(waiting)} cancelled\n"


def test_a_job_that_goes_away_in_the_meantime_does_not_hide_what_became_of_the_others(
    belt: Conveyor, waiting: list[Job[None]], capsys: pytest.CaptureFixture[str]
) -> None:
    found = [job.id for job in waiting]
    waiting[0].cancel()
    belt.store.delete(waiting[0].id).result()
    states = cancel._cancel(belt.store, found, reason="over", force=False)
    cancel._stay(belt.store, states | {waiting[0].id: cancel.CANCELLING}, 1.0)
    cancel._explain(belt.store, states, force=False)
    assert Counter(states.values()) == {State.CANCELLED: 6, cancel.GONE: 1}
    assert "is gone: it ended, and was deleted" in capsys.readouterr().err


def test_a_filter_reaches_running_jobs_and_waits_for_them(
    start: Start, belt: Conveyor, until: Until, conveyor: Command
) -> None:
    serve(start)
    jobs = belt.functions["tracks"].enqueue_many([()] * 3)
    until(lambda: all(job.logs() for job in jobs))
    ran = conveyor("cancel", "--task", "tracks", "--yes", "--wait", "20")
    assert (ran.code, ran.out) == (0, "3 cancelled\n")


@pytest.mark.parametrize("args", [[], ["an-id", "--queue", "default"]])
def test_a_cancel_of_nothing_in_particular_is_wrong_use(
    conveyor: Command, belt: Conveyor, args: list[str]
) -> None:
    ran = conveyor("cancel", *args)
    assert ran.code == 2
    assert "say which jobs" in ran.err
    assert belt.store.counts().result() == []
