"""Jobs of all four kinds, for real: what they return, write and leave behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from conveyor import (
    Job,
    JobDiscardedError,
    State,
)
from conveyor.core.job import Progress
from shop import (
    belt,
    cancels_itself,
    dies,
    double,
    fail,
    fresh_store,
    hangs,
    is_alive,
    loud,
    naps,
    own_pid,
    says,
    sees_token,
    speak,
    steps,
    too_long,
    work,
)

_fresh_store = pytest.fixture(autouse=True)(fresh_store)


@pytest.mark.parametrize("kind", double)
def test_every_kind_of_function_returns_its_result(kind: str) -> None:
    job = double[kind].enqueue(21)
    work()
    assert job.result(30) == 42


def test_a_command_results_in_its_exit_code() -> None:
    job = belt.command("sh", "-c", "exit 3", ok_exit_codes=[0, 3], queue="q").enqueue()
    work()
    assert job.result(30) == {"exit_code": 3}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["sh", "-c", "echo reason >&2; exit 3"], "exited with 3"),
        (["sh", "-c", "kill -SEGV $$"], "killed by SIGSEGV"),
        (["/no/such/program"], "cannot find program .*/no/such/program"),
    ],
)
def test_the_error_of_a_failed_command_says_how_it_ended(argv: list[str], said: str) -> None:
    job = belt.command(*argv, queue="q").enqueue()
    work()
    with pytest.raises(JobDiscardedError, match=said):
        job.result(30)


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


def test_output_printed_outside_jobs_is_not_redirected(
    capsys: pytest.CaptureFixture[str],
) -> None:
    speak["thread"].enqueue("job")
    work()
    print("outside")
    assert capsys.readouterr().out == "outside\n"


def test_a_hundred_megabytes_of_output_are_truncated_with_a_mark() -> None:
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
        ("unprintable", "its message cannot be printed"),
        ("exit", "SystemExit: 3"),
        ("interrupt", "KeyboardInterrupt"),
        ("result", "cannot be stored as JSON"),
    ],
)
def test_whatever_a_job_raises_becomes_one_clear_error_and_the_worker_continues(
    kind: str, how: str, said: str
) -> None:
    job = fail[kind].enqueue(how)
    after = double["thread"].enqueue(1)
    work()
    with pytest.raises(JobDiscardedError, match=said):
        job.result(30)
    assert after.result(30) == 2


def test_the_history_has_the_traceback_with_the_job_s_own_line() -> None:
    job = fail["process"].enqueue("raise")
    work()
    [line] = job.history()
    assert line.error.type == "ValueError"
    assert "LookupError" not in line.error.bases
    assert "Exception" in line.error.bases
    assert 'raise ValueError("no such thing")' in line.error.traceback


def test_the_traceback_begins_with_the_job_s_own_code() -> None:
    jobs = [fail[kind].enqueue("raise") for kind in fail]
    work()
    for job in jobs:
        assert "runners" not in job.history()[-1].error.traceback


def test_a_failed_job_is_retried() -> None:
    job = fail["thread"].using(retries=1, backoff=0).enqueue("raise")
    work()
    assert job.refresh().state is State.DISCARDED
    assert [attempt.attempt for attempt in job.history()] == [1, 2]


def test_a_coroutine_that_exceeds_its_timeout_is_stopped_and_fails() -> None:
    job = too_long.enqueue()
    work()
    with pytest.raises(JobDiscardedError, match=r"Timeout: .*0\.3 s"):
        job.result(30)


def test_a_blocking_function_that_exceeds_its_timeout_is_killed_with_its_children(
    tmp_path: Path,
) -> None:
    job = hangs.enqueue(tmp_path / "pids")
    work()
    with pytest.raises(JobDiscardedError, match="SIGKILL"):
        job.result(30)
    assert not any(is_alive(int(pid)) for pid in (tmp_path / "pids").read_text().split())


def test_a_command_that_exceeds_its_timeout_is_killed_with_its_whole_tree(tmp_path: Path) -> None:
    script = f"trap '' TERM; setsid sleep 60 & echo $! >{tmp_path}/pid; sleep 60"
    job = belt.command("sh", "-c", script, queue="q").using(timeout=4, grace=0.2).enqueue()
    work()
    with pytest.raises(JobDiscardedError, match="Timeout"):
        job.result(30)
    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_a_grandchild_that_keeps_the_pipe_open_does_not_delay_the_job(tmp_path: Path) -> None:
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
        job.result(30)
    assert after.result(30) == 8


def test_children_are_reused_until_they_have_run_enough_jobs() -> None:
    jobs = [own_pid.enqueue() for _ in range(6)]
    belt.work(timeout=30, slots=1, max_jobs_per_process=3)
    pids = [job.result(30) for job in jobs]
    assert len(set(pids)) == 2
    assert pids[0] == pids[2] != pids[3] == pids[5]
    assert not any(is_alive(pid) for pid in pids)


def test_what_a_job_sets_in_its_context_does_not_reach_the_next_one() -> None:
    jobs = [sees_token.enqueue() for _ in range(3)]
    belt.work(timeout=30, slots=1)
    assert {job.result(30) for job in jobs} == {"none changed"}


def test_progress_is_kept() -> None:
    job = steps.enqueue(5)
    work()
    assert job.progress is not None
    assert (job.progress.done, job.progress.message) == (5.0, "stepping")


def test_a_snoozed_job_runs_again_and_the_attempt_does_not_count() -> None:
    job = naps.enqueue()
    work()
    work()
    assert job.result(30) == "attempt 1"


def test_a_job_that_cancels_itself_fails() -> None:
    job = cancels_itself.enqueue()
    work()
    with pytest.raises(JobDiscardedError, match="cancelled itself"):
        job.result(30)


NONSENSE = {
    "no delay": "has no attribute 'delay'",
    "snooze nan": "the delay of a Snooze must be finite, got nan",
    "snooze for ever": "the delay of a Snooze must be at most 100 years (36525d), got 1e+300",
    "progress nan": "progress: done must be finite, got nan",
    "progress of inf": "progress: total must be finite, got inf",
    "progress too large": "progress: done must be finite, got 1000",
}


@pytest.mark.parametrize("kind", says)
def test_progress_or_a_snooze_that_makes_no_sense_fails_the_job_that_said_it(kind: str) -> None:
    jobs: dict[str, Job[None]] = {what: says[kind].enqueue(what) for what in [*NONSENSE, "fine"]}
    work()
    fine = jobs.pop("fine").record
    assert (fine.state, fine.progress) == (State.COMPLETED, Progress(1e300, 1e301))
    for what, job in jobs.items():
        assert job.state is State.DISCARDED, what
        assert NONSENSE[what] in (job.record.error or "")
        assert "in _says" in job.history()[0].error.traceback, what
