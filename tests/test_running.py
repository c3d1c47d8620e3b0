"""Jobs of all four kinds, for real: what they return, write and leave behind, and how they stop."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conveyor import (
    Conveyor,
    Job,
    JobCancelledError,
    JobDiscardedError,
    Snooze,
    State,
    current_job,
)
from conveyor.worker import Worker

LOG = logging.getLogger("shop")
TOKEN: contextvars.ContextVar[str] = contextvars.ContextVar("token", default="none")
Until = Callable[[Callable[[], object]], None]


class Unprintable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise RuntimeError("no text")


belt = Conveyor("memory:")
queue = belt.queue("q")


@pytest.fixture(autouse=True)
def _fresh_store() -> Iterator[None]:
    belt._producer._opened = None
    yield
    if belt._producer._opened is not None:
        belt._producer.watch.close()


async def _async(x: int) -> int:
    await asyncio.sleep(0)
    return x * 2


def _plain(x: int) -> int:
    return x * 2


double = {
    "coroutine": queue.task(name="a")(_async),
    "thread": queue.task(name="b")(_plain),
    "process": queue.task(name="c", run="process")(_plain),
    "async in a process": queue.task(name="d", run="process")(_async),
}


@queue.task(name="speak")
async def speak_async(who: str) -> None:
    for word in ("one", "two", "three"):
        print(who, word)
        await asyncio.sleep(0.001)
    print("to stderr", file=sys.stderr)
    LOG.warning("%s logs", who)


def _speak(who: str) -> None:
    for word in ("one", "two", "three"):
        print(who, word)
    print("to stderr", file=sys.stderr)
    LOG.warning("%s logs", who)


speak: dict[str, Any] = {
    "coroutine": speak_async,
    "thread": queue.task(name="speak thread")(_speak),
    "process": queue.task(name="speak process", run="process")(_speak),
}


def _fail(how: str) -> object:
    match how:
        case "raise":
            raise ValueError("no such thing")
        case "unprintable":
            raise Unprintable
        case "exit":
            raise SystemExit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case _:
            return object()


async def _fail_async(how: str) -> object:
    return _fail(how)


fail: dict[str, Any] = {
    "coroutine": queue.task(name="fail coroutine")(_fail_async),
    "thread": queue.task(name="fail thread")(_fail),
    "process": queue.task(name="fail process", run="process")(_fail),
}


@queue.task(timeout=0.3)
async def too_long() -> None:
    await asyncio.sleep(60)


@queue.task(timeout=4, grace=0.2)
def hangs(pids: Path) -> None:
    child = subprocess.Popen(["sleep", "60"])
    pids.write_text(f"{os.getpid()} {child.pid}")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)


@queue.task(run="process")
def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@queue.task
async def sees_token() -> str:
    before = TOKEN.get()
    TOKEN.set("changed")
    await asyncio.sleep(0)
    return f"{before} {TOKEN.get()}"


@queue.task
async def steps(done: int) -> None:
    for number in range(done):
        current_job().progress(number + 1, done, "stepping")
        await asyncio.sleep(0)


@queue.task
async def naps() -> str:
    if current_job().lease == 1:
        raise Snooze(0.0)
    return f"attempt {current_job().attempt}"


@queue.task(run="process")
def own_pid() -> int:
    return os.getpid()


@queue.task
def loud(megabytes: int) -> None:
    for _ in range(megabytes):
        print("x" * 1_000_000)


@queue.task
async def waits_for_stop() -> None:
    await asyncio.sleep(60)


@queue.task
def listens() -> None:
    current_job().sleep(60)


@queue.task
async def stubborn(released: float) -> str:
    deadline = time.monotonic() + released
    while time.monotonic() < deadline:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            continue
    return "done anyway"


@queue.task
async def cancels_itself() -> None:
    raise asyncio.CancelledError


def work(**options: Any) -> int:
    return belt.work(timeout=30, slots=4, **options)


@pytest.mark.parametrize("kind", double)
def test_every_kind_of_function_returns_its_result(kind: str) -> None:
    job = double[kind].enqueue(21)
    work()
    assert job.result(1) == 42


def test_a_command_results_in_its_exit_code() -> None:
    job = belt.command("sh", "-c", "exit 3", ok_exit_codes=[0, 3], queue="q").enqueue()
    work()
    assert job.result(1) == {"exit_code": 3}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["sh", "-c", "echo reason >&2; exit 3"], "exited with 3"),
        (["sh", "-c", "kill -SEGV $$"], "killed by SIGSEGV"),
        (["/no/such/program"], "no program .*/no/such/program"),
    ],
)
def test_a_command_that_fails_says_how(argv: list[str], said: str) -> None:
    job = belt.command(*argv, queue="q").enqueue()
    work()
    with pytest.raises(JobDiscardedError, match=said):
        job.result(1)


def test_a_command_gets_the_environment_it_was_given(tmp_path: Path) -> None:
    script = 'echo "$A|$HOME|$CONVEYOR_JOB_ID|$PWD"'
    job = belt.command(
        "/bin/sh", "-c", script, env={"A": "1"}, inherit_env=False, cwd=tmp_path, queue="q"
    ).enqueue()
    work()
    assert job.logs() == f"1||{job.id}|{tmp_path}\n"


@pytest.mark.parametrize("kind", speak)
def test_output_is_kept_by_job_and_by_stream_without_mixing_neighbours(kind: str) -> None:
    jobs: dict[str, Job[None]] = {
        who: speak[kind].enqueue(who) for who in ("ann", "bob", "cid", "dan")
    }
    work()
    for who, job in jobs.items():
        assert job.state is State.COMPLETED, job.record.error
        assert job.logs("stdout") == f"{who} one\n{who} two\n{who} three\n"
        assert job.logs("stderr") == "to stderr\n"
        assert job.logs("log").rstrip().endswith(f"WARNING shop: {who} logs")


def test_what_is_printed_outside_of_jobs_goes_where_it_went(
    capsys: pytest.CaptureFixture[str],
) -> None:
    speak["thread"].enqueue("job")
    work()
    print("outside")
    assert capsys.readouterr().out == "outside\n"


def test_a_hundred_megabytes_of_output_are_cut_with_a_mark() -> None:
    job = loud.using(output_limit=10_000).enqueue(100)
    work()
    assert job.state is State.COMPLETED
    text = job.logs()
    assert text.startswith("x" * 10_000)
    assert "output cut at 10,000 bytes; raise output_limit" in text
    assert len(text) < 10_200


@pytest.mark.parametrize("kind", fail)
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raise", "ValueError: no such thing"),
        ("unprintable", "its text cannot be printed"),
        ("exit", "SystemExit: 3"),
        ("interrupt", "KeyboardInterrupt"),
        ("result", "cannot be stored as JSON"),
    ],
)
def test_whatever_a_job_raises_is_one_clear_error_and_the_worker_goes_on(
    kind: str, how: str, said: str
) -> None:
    job = fail[kind].enqueue(how)
    after = double["thread"].enqueue(1)
    work()
    with pytest.raises(JobDiscardedError, match=said):
        job.result(1)
    assert after.result(1) == 2


def test_the_history_has_the_traceback_with_the_job_s_own_line() -> None:
    job = fail["process"].enqueue("raise")
    work()
    [line] = job.history()
    assert line.error.type == "ValueError"
    assert "LookupError" not in line.error.bases
    assert "Exception" in line.error.bases
    assert 'raise ValueError("no such thing")' in line.error.traceback


def test_a_failed_job_is_tried_again_and_says_so() -> None:
    job = fail["thread"].using(retries=1, backoff=0).enqueue("raise")
    work()
    work()
    assert job.refresh().state in (State.DISCARDED, State.RETRYABLE)
    assert len(job.history()) >= 1


def test_a_coroutine_that_takes_too_long_is_stopped_and_failed() -> None:
    job = too_long.enqueue()
    work()
    with pytest.raises(JobDiscardedError, match=r"Timeout: .*0\.3 s"):
        job.result(1)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_blocking_function_that_takes_too_long_is_killed_with_its_children(
    tmp_path: Path,
) -> None:
    job = hangs.enqueue(tmp_path / "pids")
    work()
    with pytest.raises(JobDiscardedError, match="SIGKILL"):
        job.result(1)
    assert not any(is_alive(int(pid)) for pid in (tmp_path / "pids").read_text().split())


def test_a_command_that_takes_too_long_is_killed_with_its_whole_tree(tmp_path: Path) -> None:
    script = f"trap '' TERM; setsid sleep 60 & echo $! >{tmp_path}/pid; sleep 60"
    job = belt.command("sh", "-c", script, queue="q").using(timeout=0.5, grace=0.2).enqueue()
    work()
    with pytest.raises(JobDiscardedError, match="Timeout"):
        job.result(1)
    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_a_grandchild_that_holds_the_pipe_does_not_hold_the_job(tmp_path: Path) -> None:
    script = f"setsid sleep 60 & echo $! >{tmp_path}/pid; echo done"
    job = belt.command("sh", "-c", script, queue="q").enqueue()
    try:
        started = time.monotonic()
        work()
        assert job.state is State.COMPLETED
        assert job.logs() == "done\n"
        assert time.monotonic() - started < 20
    finally:
        pid = int((tmp_path / "pid").read_text())
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


def test_a_child_that_dies_fails_its_own_job_only() -> None:
    job, after = dies.enqueue(), double["process"].enqueue(4)
    work()
    with pytest.raises(JobDiscardedError, match="killed by SIGKILL"):
        job.result(1)
    assert after.result(1) == 8


def test_children_are_used_again_until_they_have_run_enough_jobs() -> None:
    jobs = [own_pid.enqueue() for _ in range(6)]
    belt.work(timeout=30, slots=1, max_jobs_per_process=3)
    pids = [job.result(1) for job in jobs]
    assert len(set(pids)) == 2
    assert pids[0] == pids[2] != pids[3] == pids[5]
    assert not any(is_alive(pid) for pid in pids)


def test_what_a_job_sets_in_its_context_does_not_reach_the_next_one() -> None:
    jobs = [sees_token.enqueue() for _ in range(3)]
    belt.work(timeout=30, slots=1)
    assert {job.result(1) for job in jobs} == {"none changed"}


def test_progress_is_kept() -> None:
    job = steps.enqueue(5)
    work()
    assert job.progress is not None
    assert (job.progress.done, job.progress.message) == (5.0, "stepping")


def test_a_snoozed_job_runs_again_without_a_used_attempt() -> None:
    job = naps.enqueue()
    work()
    work()
    assert job.result(1) == "attempt 1"


def test_a_job_that_cancels_itself_has_failed() -> None:
    job = cancels_itself.enqueue()
    work()
    with pytest.raises(JobDiscardedError, match="cancelled itself"):
        job.result(1)


class Running:
    """A worker in a thread, for tests that act while a job runs."""

    def __init__(self, served: Conveyor = belt, **options: Any) -> None:
        self.worker: Worker = served.worker(queues=["q"], **{"slots": 2, **options})
        self.thread = threading.Thread(target=lambda: asyncio.run(self.worker.run()))

    def __enter__(self) -> Worker:
        self.thread.start()
        return self.worker

    def __exit__(self, *_: object) -> None:
        self.worker.call(self.worker.cancel_all)
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.mark.parametrize("which", [waits_for_stop, listens])
def test_a_running_job_that_listens_is_cancelled_and_only_then_says_so(
    which: Any, until: Until
) -> None:
    with Running() as worker:
        job = which.enqueue()
        until(lambda: worker.running)
        assert job.cancel(wait=10, reason="not needed")
    with pytest.raises(JobCancelledError, match="not needed"):
        job.result(1)


def test_a_running_command_is_cancelled_with_its_tree(until: Until, tmp_path: Path) -> None:
    with Running():
        pid = tmp_path / "pid"
        job = belt.command("sh", "-c", f"echo $$ >{pid}; sleep 60", queue="q").enqueue()
        until(lambda: pid.exists() and pid.read_text().strip())
        assert job.cancel(wait=10)
        assert not is_alive(int(pid.read_text()))


def test_a_job_that_does_not_listen_is_never_called_cancelled_while_it_runs(until: Until) -> None:
    with Running() as worker:
        job = stubborn.enqueue(1.0)
        until(lambda: worker.running)
        assert not job.cancel(wait=0.2)
        assert job.state is State.RUNNING
        assert job.record.cancel_requested_at is not None
        # It finished before it could be stopped, and that is what is said.
        assert job.result(10) == "done anyway"


def test_draining_lets_running_jobs_finish_and_gives_back_what_waits(until: Until) -> None:
    with Running(slots=1) as worker:
        first = stubborn.enqueue(0.4)
        until(lambda: worker.running)
        second = double["coroutine"].enqueue(1)
        worker.call(lambda: worker.drain(20))
        assert first.result(10) == "done anyway"
    assert second.refresh().state is State.AVAILABLE
    assert second.record.attempt == 0


def test_a_job_that_outlives_the_deadline_is_handed_back_without_a_used_attempt(
    until: Until,
) -> None:
    with Running() as worker:
        job = waits_for_stop.enqueue()
        until(lambda: worker.running)
        worker.call(lambda: worker.drain(0.0))
        until(lambda: job.refresh().state is State.AVAILABLE)
        assert job.record.attempt == 0
    assert worker.handed_back == 1


def test_cancelling_at_the_very_end_never_hits_the_next_job() -> None:
    async def race() -> None:
        worker = belt.worker(queues=["q"], slots=1)
        running = asyncio.create_task(worker.run())
        for number in range(150):
            job = await double["coroutine"].aenqueue(number)
            for _ in range(number % 7):
                await asyncio.sleep(0)
            await job.acancel()
            after = await double["coroutine"].aenqueue(number)
            assert await after.aresult(10) == 2 * number
            record = await job.await_final(10)
            assert record.state in (State.COMPLETED, State.CANCELLED)
        worker.drain()
        await running

    asyncio.run(race())


def test_a_job_of_an_unknown_task_is_discarded_with_the_way_out() -> None:
    other = Conveyor(store=belt.store)
    job = (
        other.queue("q")
        .task(
            _plain,
        )
        .using(queue="q")
        .enqueue(1)
    )
    work()
    with pytest.raises(JobDiscardedError, match="no task named"):
        job.result(1)
