"""A worker is frozen beyond its lease with a job of each kind, and wakes up: nothing runs twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import recording_jobs
import tree
from evidence import Lines
from recording_jobs import KINDS, LINES
from worker_processes import served

from conveyor import State
from state_changes import changes, watch

pytestmark = pytest.mark.alone

Until = Callable[..., None]

LEASE = "2s"
# A job that writes nothing for ten times its pause has been stopped.
SILENCE = 0.5


def overlaps(lines: Lines, jobs: list[str]) -> list[str]:
    """Say which jobs had programs of the first lease that ran when the second one's began."""
    found: list[str] = []
    for job in jobs:
        first = max((x.at for x in lines.of[job] if x.lease == 1), default=0.0)
        second = min((x.at for x in lines.of[job] if x.lease == 2), default=0.0)
        if second <= first:
            found.append(f"{job} ran under its first lease until {first - second:.3f} s too late")
    return found


def test_a_frozen_worker_s_programs_end_before_others_start_and_its_late_reports_are_refused(
    tmp_path: Path, until: Until
) -> None:
    lines = Lines(tmp_path / LINES)
    with served(tmp_path, until) as here:
        frozen = here.worker("-c", "8", "--lease", LEASE)
        watch(tmp_path / "jobs.db")
        soon = [recording_jobs.enqueue(here.belt, kind, 0.0, "soon") for kind in KINDS]
        late = [recording_jobs.enqueue(here.belt, kind, 0.0, "late") for kind in KINDS[:2]]
        programs = [job.id for job in soon[2:]]
        until(lambda: lines.has("begin", [job.id for job in soon + late]))
        other = here.worker("-c", "8", "--lease", LEASE)
        frozen.send_signal(signal.SIGSTOP)
        until(lambda: lines.has("begin", [job.id for job in soon + late], lease=2))
        assert overlaps(lines, programs) == []
        assert not [x for x in lines.all if x.job in programs and x.lease == 1 and x.alive]
        here.be_quiet(other)
        # These end under both leases, one of which is void; the others have to be stopped.
        (tmp_path / "soon").touch()
        frozen.send_signal(signal.SIGCONT)
        until(lambda: lines.has("end", [job.id for job in soon[:2]]))
        until(lambda: all(job.refresh().state is State.COMPLETED for job in soon))
        new = recording_jobs.enqueue(here.belt, "command", 0.0, "late")
        until(lambda: lines.has("begin", [new.id]))
        until(lambda: silent(lines, [job.id for job in late]))
        (tmp_path / "late").touch()
        until(lambda: all(job.refresh().state is State.COMPLETED for job in [*late, new]))
        assert not any(x.word == "end" and x.lease == 1 for job in late for x in lines.of[job.id])
        made = [x for x in changes(tmp_path / "jobs.db") if x.state is State.COMPLETED]
        wanted = {job.id: 2 for job in soon + late} | {new.id: 1}
        assert {x.job: x.lease for x in made} == wanted
        assert len(made) == len(wanted)
        for worker in (frozen, other):
            here.stop(worker)
            assert worker.wait(30) == 0
    assert not [x for x in lines.all if x.alive]


def silent(lines: Lines, jobs: list[str]) -> bool:
    """Whether nothing of these jobs' first leases has written for a while."""
    lines.look()
    last = max(x.at for job in jobs for x in lines.of[job] if x.lease == 1)
    return time.time() - last > SILENCE


def test_the_same_harness_rejects_programs_that_outlive_the_freezing_of_their_worker(
    tmp_path: Path, until: Until
) -> None:
    argv = [sys.executable, "-I", "-S", tree.__file__, LINES, "60", "", "listening"]
    script = f"import subprocess; subprocess.run({argv!r}, check=True)"
    lines = Lines(tmp_path / LINES)
    env = os.environ | {"CONVEYOR_JOB_ID": "job"}
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, env=env | {"CONVEYOR_LEASE": "1"}
    ) as frozen:
        until(lambda: lines.has("begin", ["job"]))
        frozen.send_signal(signal.SIGSTOP)
        with subprocess.Popen(argv, cwd=tmp_path, env=env | {"CONVEYOR_LEASE": "2"}) as other:
            until(lambda: lines.has("begin", ["job"], lease=2))
            second = max(x.at for x in lines.all if x.lease == 2)
            until(lambda: any(x.at > second for x in lines.look() if x.lease == 1))
            found = overlaps(lines, ["job"])
            for line in {x.pid: x for x in lines.all if x.word in ("begin", "child")}.values():
                os.kill(line.pid, signal.SIGKILL)
            frozen.kill()
            other.kill()
    assert len(found) == 1
