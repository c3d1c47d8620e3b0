"""Workers of several hosts share a PostgreSQL database: one dies, one is cut off, one is late."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import recording_jobs
from cable import Cable
from evidence import Lines
from recording_jobs import LINES

from conveyor import State
from conveyor.client.job_handle import Job
from conveyor.core.job import WorkerInfo
from postgres_schema import Schemas

Until = Callable[..., None]

LEASE = 5.0
HOUR = 3600.0
# What `time.time` says in a process whose PYTHONPATH has this, for as long as the file says so.
WRONG_CLOCK = """
import pathlib, time

wrong_by, right = pathlib.Path({path!r}), time.time
time.time = lambda: right() + float(wrong_by.read_text())
"""


class Hosts:
    """Workers, each on a host of its own, as far as they can tell."""

    def __init__(self, url: str, folder: Path, until: Until, stack: ExitStack) -> None:
        self.belt = recording_jobs.declared(url)
        stack.callback(self.belt.close)
        self.lines = Lines(folder / LINES)
        self._url, self._folder, self._until, self._stack = url, folder, until, stack
        self._server = parse_qs(urlsplit(url).query)["host"][0]

    def cable(self, name: str) -> Cable:
        made = Cable(self._folder / f"cable-{name}", self._server)
        self._stack.callback(made.close)
        return made

    def worker(
        self, name: str, *options: str, cable: Cable | None = None, path: str = ""
    ) -> subprocess.Popen[bytes]:
        """Start one, and wait until the store knows it. It ends with all processes of its host."""
        url = self._url if cable is None else self._url.replace(self._server, cable.host, 1)
        host = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        if os.geteuid():
            host += ["--user", "--map-root-user"]
        argv = [*host, sys.executable, "-m", "conveyor", "worker", "recording_jobs:belt"]
        runtime = self._folder / f"run-{name}"
        runtime.mkdir()
        paths = [path, os.path.dirname(__file__), *sys.path]
        known = {each.id for each in self.known()}
        with (self._folder / f"said-{name}").open("wb") as said:
            started = subprocess.Popen(
                [*argv, "--url", url, "-c", "4", *options],
                cwd=self._folder,
                env=os.environ
                | {
                    "XDG_RUNTIME_DIR": str(runtime),
                    "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                },
                stderr=said,
            )
        self._stack.callback(started.wait, 60)
        self._stack.callback(started.kill)
        self._until(lambda: {each.id for each in self.known()} - known)
        return started

    def known(self) -> list[WorkerInfo]:
        return list(self.belt.store.workers().result(60))

    def run(self, kind: str, go: str = "go") -> Job[None]:
        """Have a job run until the file `go` is there."""
        job = recording_jobs.enqueue(self.belt, kind, 0.0, go)
        self._until(lambda: self.lines.has("begin", [job.id]))
        return job

    def lease_end(self, job: Job[None]) -> float:
        until = job.refresh().record.lease_until
        assert until is not None
        return until


@pytest.fixture
def hosts(schemas: Schemas, tmp_path: Path, until: Until) -> Iterator[Hosts]:
    with schemas.one() as url, ExitStack() as stack:
        yield Hosts(url, tmp_path, until, stack)


def run_again(lines: Lines, job: Job[None]) -> tuple[float, float]:
    """Return when the first run of a job was last seen, and when the second one began."""
    lines.look()
    first = max(line.at for line in lines.of[job.id] if line.lease == 1)
    return first, min(line.at for line in lines.of[job.id] if line.lease == 2)


@pytest.mark.alone
def test_jobs_of_a_dead_and_of_a_cut_off_host_run_elsewhere_after_their_leases(
    hosts: Hosts, tmp_path: Path, until: Until
) -> None:
    options = "-c", "2", "--lease", f"{LEASE}"
    cables = [hosts.cable("dead"), hosts.cable("cut")]
    dead = hosts.worker("dead", *options, cable=cables[0])
    lost = [hosts.run("coroutine"), hosts.run("command")]
    hosts.worker("cut", *options, cable=cables[1])
    held = [hosts.run("coroutine"), hosts.run("command")]
    near = hosts.worker("near", "-c", "8", "--lease", f"{LEASE}")
    jobs = lost + held
    # A connection that is only cut costs nothing: its worker has another one and renews.
    cables[1].cut()
    before = [hosts.lease_end(job) for job in held]
    until(lambda: all(hosts.lease_end(job) > end for job, end in zip(held, before, strict=True)))

    for cable in cables:
        cable.pull_out()
    dead.kill()
    ends = [hosts.lease_end(job) for job in jobs]
    until(lambda: hosts.lines.has("begin", [job.id for job in jobs], lease=2))
    again = [run_again(hosts.lines, job) for job in jobs]
    assert [second for (_, second), end in zip(again, ends, strict=True) if second < end] == []
    # The host that lives has stopped its own in time, without hearing from anybody.
    assert [second - first for first, second in again if second <= first] == []

    (tmp_path / "go").touch()
    until(lambda: all(job.refresh().state is State.COMPLETED for job in jobs))
    assert [(job.record.lease, job.record.crashes) for job in jobs] == [(2, 1)] * len(jobs)
    near.kill()
    cables[1].plug_in()
    assert hosts.run("coroutine").result(60) is None


def test_a_host_whose_clock_is_wrong_and_jumps_changes_nothing(
    hosts: Hosts, tmp_path: Path, until: Until
) -> None:
    def set_wrong_by(hours: float) -> None:
        (tmp_path / "new").write_text(f"{hours * HOUR}")
        (tmp_path / "new").rename(tmp_path / "wrong-by")

    set_wrong_by(5)
    (tmp_path / "late").mkdir()
    custom = WRONG_CLOCK.format(path=str(tmp_path / "wrong-by"))
    (tmp_path / "late" / "sitecustomize.py").write_text(custom)
    hosts.worker("right", "-c", "1")
    held = hosts.run("coroutine")
    later = recording_jobs.enqueue(hosts.belt, "coroutine", 0.0, delay=HOUR)
    right = {each.id for each in hosts.known()}
    # A short lease makes it look often for what has expired.
    hosts.worker("wrong", "-c", "1", "--lease", "4", path=str(tmp_path / "late"))
    [wrong] = [each for each in hosts.known() if each.id not in right]

    def beat_at() -> float:
        return next(each.beat_at for each in hosts.known() if each.id == wrong.id)

    for number, hours in enumerate((5, -5)):
        set_wrong_by(hours)
        job = hosts.run("coroutine", f"go-{number}")
        began = next(line.at for line in hosts.lines.of[job.id] if line.word == "begin")
        assert abs(began - hosts.belt.store.now() - hours * HOUR) < HOUR
        looked_at = beat_at()
        until(lambda looked_at=looked_at: beat_at() > looked_at)
        assert (job.refresh().record.worker, job.record.lease) == (wrong.id, 1)
        (tmp_path / f"go-{number}").touch()
        assert job.result(60) is None
        final_at = job.refresh().record.final_at
        assert final_at is not None
        assert abs(final_at - hosts.belt.store.now()) < HOUR
    assert held.refresh().record.lease == 1
    assert later.refresh().state is State.SCHEDULED
