"""A worker is told to stop while it runs jobs of each kind, shorter and longer than its drain."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import apsw
import pytest
import recording_jobs
import tree
from evidence import Lines, run_on
from recording_jobs import LINES
from worker_processes import Served, served

from conveyor import State
from conveyor.cli.shared.shutdown import SLACK as WATCH_OVER
from conveyor.client.job_handle import Job
from conveyor.worker.shutdown import LEAVE, SHUTDOWN_GRACE
from state_changes import WATCH, Change, changes, watch

pytestmark = pytest.mark.alone

Until = Callable[..., None]

DRAIN = 1.0
# As promised: a job is back within this time of being stopped, and runs again within this time,
# in which a process may have to be started.
BACK, AGAIN = 1.0, 2.0
# What a loaded machine with a slow disk may add to the time in which a worker is out.
SLACK = 2.0
LISTENING = ("coroutine", "thread", "process", "command")
KILLED = ("deaf process", "deaf command")
LEFT = ("deaf thread", "stubborn")
# When each must be back, in seconds after it was stopped.
LIMITS = (
    dict.fromkeys(LISTENING, BACK)
    | dict.fromkeys(KILLED, SHUTDOWN_GRACE + BACK)
    | dict.fromkeys(LEFT, SHUTDOWN_GRACE + LEAVE + SLACK)
    | {"blocking": SHUTDOWN_GRACE + LEAVE + WATCH_OVER + SLACK}
)
OUT = DRAIN + SHUTDOWN_GRACE + LEAVE + SLACK


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def here(request: pytest.FixtureRequest, tmp_path: Path, until: Until) -> Iterator[Served]:
    with ExitStack() as stack:
        url = ""
        if request.param == "postgres":
            url = stack.enter_context(request.getfixturevalue("schemas").one())
        workers = stack.enter_context(served(tmp_path, until, url))
        assert workers.belt.store.counts().result(10) == []
        watch(workers.place)
        yield workers


def begin(
    here: Served, lines: Lines, until: Until, *kinds: str, **more: Any
) -> dict[str, Job[Any]]:
    """Have jobs of these kinds running, each of which ends once the file `go` is there."""
    seconds = more.pop("seconds", 0.0)
    jobs: dict[str, Job[Any]] = {}
    for kind in kinds:
        jobs[kind] = recording_jobs.enqueue(here.belt, kind, seconds, "go", **more)
        if kind == kinds[-1] or kinds[-1] == "blocking":  # that one lets no other begin
            until(lambda: lines.has("begin", [job.id for job in jobs.values()]))
    return jobs


def end(worker: subprocess.Popen[bytes], stopped_at: float, within: float = OUT) -> int:
    """Wait until a worker is out, in time; return its exit code."""
    code = worker.wait(within + 30)
    took = time.time() - stopped_at
    print(f"out after {took:.3f} s with {code}")
    assert took < within
    return code


def objections(
    jobs: Mapping[str, str], lines: Lines, made: list[Change], stopped_at: float
) -> list[str]:
    """Say which of these jobs, by kind, came back too late, too early, or ran again too late."""
    found: list[str] = []
    back = {c.job: c for c in made if c.lease == 1 and c.state is State.AVAILABLE}
    for kind, job in jobs.items():
        if job not in back:
            found.append(f"{kind} was not released")
            continue
        after = back[job].at - stopped_at
        if after > LIMITS[kind]:
            found.append(f"{kind} was back {after:.3f} s after it was stopped")
        again = [line.at for line in lines.of[job] if line.lease == 2 and line.word == "begin"]
        if not again or again[0] - back[job].at > AGAIN:
            found.append(f"{kind} was back at {back[job].at}, and ran again at {again}")
        else:
            print(
                f"{kind:13} back after {after:.3f} s, again {again[0] - back[job].at:.3f} s later"
            )
    return found + run_on(lines, back)


def survivors(lines: Lines) -> list[int]:
    lines.look()
    return [x.pid for x in lines.all if x.lease == 1 and x.word in ("begin", "child") and x.alive]


def test_jobs_that_end_before_the_deadline_are_completed_and_the_exit_code_is_0(
    here: Served, until: Until
) -> None:
    lines = Lines(here.folder / LINES)
    worker = here.worker("-c", "16", "--drain", "10")
    kinds = (*LISTENING, *KILLED, *LEFT, "blocking")
    jobs = begin(here, lines, until, *kinds, seconds=0.5)
    stopped_at = here.stop(worker)
    (here.folder / "go").touch()
    assert end(worker, stopped_at, 5.0) == 0
    records = [job.refresh().record for job in jobs.values()]
    assert {(x.state, x.attempt, x.lease) for x in records} == {(State.COMPLETED, 1, 1)}
    assert lines.has("end", [job.id for job in jobs.values()])
    assert survivors(lines) == []


@pytest.mark.parametrize(
    ("here", "kinds"),
    [
        ("sqlite", LISTENING),
        ("sqlite", (*LISTENING, *KILLED, *LEFT)),
        ("sqlite", ("blocking",)),
        ("postgres", LISTENING),
        pytest.param("postgres", (*LISTENING, *KILLED, *LEFT), marks=pytest.mark.slow),
        pytest.param("postgres", ("blocking",), marks=pytest.mark.slow),
    ],
    indirect=["here"],
)
def test_jobs_that_outlast_the_deadline_are_released_and_run_again_elsewhere(
    here: Served, until: Until, kinds: tuple[str, ...]
) -> None:
    lines = Lines(here.folder / LINES)
    other = here.worker("-c", "16")
    here.be_quiet(other)
    worker = here.worker("-c", "16", "--drain", str(DRAIN))
    jobs = begin(here, lines, until, *kinds)
    stopped_at = here.stop(worker)
    other.send_signal(signal.SIGCONT)
    assert end(worker, stopped_at, OUT + (WATCH_OVER if "blocking" in kinds else 0.0)) == 75
    assert survivors(lines) == []
    ids = {kind: job.id for kind, job in jobs.items()}
    until(lambda: lines.has("begin", ids.values(), lease=2))
    (here.folder / "go").touch()
    until(lambda: all(job.refresh().state is State.COMPLETED for job in jobs.values()))
    assert objections(ids, lines, changes(here.place), stopped_at + DRAIN) == []
    records = [job.record for job in jobs.values()]
    assert {(x.attempt, x.lease, x.crashes) for x in records} == {(1, 2, 0)}
    assert end(other, here.stop(other)) == 0


def test_jobs_with_on_shutdown_cancel_are_cancelled_at_the_deadline(
    here: Served, until: Until
) -> None:
    lines = Lines(here.folder / LINES)
    worker = here.worker("-c", "16", "--drain", str(DRAIN))
    kinds = (*LISTENING, *KILLED, *LEFT)
    jobs = begin(here, lines, until, *kinds, on_shutdown="cancel")
    assert end(worker, here.stop(worker)) == 0
    assert {job.refresh().state for job in jobs.values()} == {State.CANCELLED}
    assert survivors(lines) == []
    made = changes(here.place)
    assert run_on(lines, {x.job: x for x in made if x.state is State.CANCELLED}) == []


def test_claimed_jobs_that_have_not_started_are_released_at_once(
    here: Served, until: Until
) -> None:
    lines = Lines(here.folder / LINES)
    other = here.worker("-c", "4")
    here.be_quiet(other)
    nothing = here.belt.functions["nothing"]
    # So many quick ones that the worker claims far ahead, then slow ones in every slot.
    quick = nothing.enqueue_many([()] * 3000)
    slow = [recording_jobs.enqueue(here.belt, "coroutine", 0.0, "go") for _ in range(4)]
    quick += nothing.enqueue_many([()] * 1000)
    worker = here.worker("-c", "4", "--drain", "20")
    until(lambda: lines.has("begin", [job.id for job in slow]))
    begun_at = max(line.at for line in lines.all if line.word == "begin")
    stopped_at = here.stop(worker)
    other.send_signal(signal.SIGCONT)
    until(lambda: here.belt.store.counts().result(10)[0].counts[State.COMPLETED] == len(quick))
    (here.folder / "go").touch()
    assert end(worker, stopped_at, 25.0) == 0
    assert all(job.refresh().record.lease == 1 for job in slow)
    made = changes(here.place)
    back = [x.at for x in made if x.state is State.AVAILABLE and x.at >= begun_at]
    assert back, "nothing was claimed ahead, so this has shown nothing"
    print(f"{len(back)} were claimed ahead, and back {max(back) - stopped_at:.3f} s after")
    assert max(back) - stopped_at < BACK
    again = [job.refresh().record for job in quick[-len(back) :]]
    assert {(x.attempt, x.crashes) for x in again} == {(1, 0)}


NAIVE = """
import signal, sys, threading, apsw
sys.path.insert(0, sys.argv[1])
from tree import Diary, time

db = apsw.Connection("naive.db")


def release(*_):
    db.execute("UPDATE job SET state = 'available'")
    time.sleep(0.5)
    sys.exit(75)


def run():
    diary = Diary("lines", "job", 1)
    diary.write("begin")
    while diary.beats(60, ""):
        time.sleep(0.01)


signal.signal(signal.SIGTERM, release)
threading.Thread(target=run, daemon=True).start()
signal.pause()
"""


def test_the_same_harness_rejects_a_worker_that_releases_before_its_threads_have_ended(
    tmp_path: Path, until: Until
) -> None:
    db = apsw.Connection(str(tmp_path / "naive.db"))
    db.execute("CREATE TABLE job (id TEXT, state TEXT, lease INTEGER);" + WATCH)
    db.execute("INSERT INTO job VALUES ('job', 'running', 1)")
    db.close()
    lines = Lines(tmp_path / LINES)
    argv = [sys.executable, "-c", NAIVE, str(Path(tree.__file__).parent)]
    with subprocess.Popen(argv, cwd=tmp_path) as worker:
        until(lambda: lines.has("begin", ["job"]))
        stopped_at = time.time()
        worker.terminate()
        assert worker.wait(30) == 75
    lines.look()
    found = objections({"thread": "job"}, lines, changes(tmp_path / "naive.db"), stopped_at)
    assert "ran on for" in found[-1]
    assert "ran again at []" in found[0]
