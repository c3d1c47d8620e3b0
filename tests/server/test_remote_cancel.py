"""Remote jobs are cancelled every few milliseconds: each cancel succeeds and its state is true.

Two servers stand before one store. One is killed and starts anew meanwhile, and the agent that
talks to it is cut off for a while.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from agent_tasks import beat
from cutting_proxy import CuttingProxy
from deployment import Deployment, Process, wait_for
from remote_jobs import runs
from state_log import objections

from conveyor import Conveyor, State
from conveyor.client.job_handle import Job
from other_process import sql
from reserved_port import ReservedPort
from state_changes import Change, changes, watch

pytestmark = pytest.mark.alone

# The clock of the database leaves out what is below a millisecond.
CLOCK = 0.001
ASKERS = 32
# What is promised of a cancel's p99 while all are connected is 1 s; here they are not.
BOUND = 5.0


class Asked(NamedTuple):
    """When a cancel was asked for, and what came of it."""

    job: str
    at: float
    cancelled: bool


def ran_on(diary: Path, ended: Sequence[Change]) -> list[str]:
    """Say which jobs were called cancelled before their code had ended."""
    last: dict[str, float] = defaultdict(float)
    for line in diary.read_text().splitlines() if diary.exists() else []:
        at, job, _ = line.split()
        last[job] = float(at)
    return [
        f"{change.job} ran on for {last[change.job] - change.at:.3f} s"
        for change in ended
        if change.state is State.CANCELLED and last[change.job] > change.at + CLOCK
    ]


class Drill:
    """Two servers, an agent at each, one of them through a proxy, and who asks for cancels."""

    def __init__(self, deployment: Deployment, moments: Sequence[float]) -> None:
        self.deployment = deployment
        self.moments = moments
        self.diary = deployment.folder / "diary"
        self.server = deployment.server()
        self.port, self.urls = deployment.port, [deployment.url]
        self.proxy = deployment.closing(CuttingProxy(self.port))
        deployment.port = deployment.closing(ReservedPort()).number
        deployment.server()
        self.urls.append(deployment.url)
        watch(deployment.db)
        slots = str(len(moments) // 3)  # so that some have not begun
        for url in (self.proxy.url, deployment.url):
            deployment.agent("--app", "agent_tasks:belt", "-c", slots, url=url)
        self.belts = [
            deployment.closing(Conveyor(url, token=deployment.admin)) for url in self.urls
        ]
        self.asked: list[Asked] = []

    def play(self, weather: Sequence[tuple[float, str]], seconds: float) -> None:
        """Enqueue all, and cancel each at its moment, whatever the weather."""
        task = self.belts[1].task(name=beat.task.name)(beat.task.function)
        jobs = task.enqueue_many([(str(self.diary), seconds)] * len(self.moments))
        began = time.monotonic()
        storm = threading.Thread(target=self._storm, args=(began, weather))
        storm.start()
        with ThreadPoolExecutor(ASKERS) as pool:
            for number, (job, moment) in enumerate(zip(jobs, self.moments, strict=True)):
                time.sleep(max(0.0, began + moment - time.monotonic()))
                # Those who ask do so at both servers, and so do those who run it.
                pool.submit(self._ask, self.belts[number % 2].job(job.id))
        storm.join()

    def _ask(self, job: Job[object]) -> None:
        at = time.time()
        self.asked.append(Asked(job.id, at, job.cancel(wait=60)))

    def _storm(self, began: float, weather: Sequence[tuple[float, str]]) -> None:
        for moment, what in weather:
            time.sleep(max(0.0, began + moment - time.monotonic()))
            match what:
                case "kill":
                    self.server.stop(signal.SIGKILL)
                case "start":
                    self.deployment.port = self.port
                    self.server: Process = self.deployment.server()
                case "cut":
                    self.proxy.cut_off()
                case _:
                    self.proxy.let_through()

    def check(self) -> None:
        """Object to whatever was missed or a lie, and say how long it took."""
        made = changes(self.deployment.db)
        assert [asked for asked in self.asked if not asked.cancelled] == []
        assert len(self.asked) == len(self.moments)
        assert objections(made, [asked.job for asked in self.asked]) == []
        assert ran_on(self.diary, made) == []
        ended = {change.job: change for change in made if change.state is State.CANCELLED}
        took = sorted(max(0.0, ended[asked.job].at - asked.at) for asked in self.asked)
        p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
        begun = len({line.split()[1] for line in self.diary.read_text().splitlines()})
        print(f"\n{len(took)} cancels, {begun} of begun jobs: p50 {p50:.3f} s, p99 {p99:.3f} s")
        assert begun > len(took) / 2, "most came too early, so this shows little"
        assert p99 < BOUND


def test_every_cancel_succeeds_while_a_server_is_killed_and_connections_break(
    deployment: Deployment,
) -> None:
    moments = [number * 0.005 for number in range(20)]  # while claims are on their way
    moments += [0.1 + number * 0.05 for number in range(60)]
    drill = Drill(deployment, moments)
    weather = [(0.5, "kill"), (0.8, "start"), (2.0, "cut"), (2.6, "let through")]
    drill.play(weather, seconds=60.0)
    drill.check()


@pytest.mark.slow
def test_a_minute_of_cancels_every_fifty_milliseconds_succeeds(deployment: Deployment) -> None:
    drill = Drill(deployment, [number * 0.05 for number in range(1200)])
    weather: list[tuple[float, str]] = []
    for start in range(1, 56, 6):
        weather += [(start, "kill"), (start + 0.5, "start")]
        weather += [(start + 3, "cut"), (start + 4.5, "let through")]
    drill.play(weather, seconds=180.0)
    drill.check()


def test_the_harness_detects_a_cancel_that_did_not_stop_the_job(deployment: Deployment) -> None:
    deployment.server_thread()
    deployment.agent("--app", "agent_tasks:belt")
    watch(deployment.db)
    diary = deployment.folder / "diary"
    belt = deployment.closing(Conveyor(deployment.url, token=deployment.admin))
    job = belt.task(name=beat.task.name)(beat.task.function).enqueue(str(diary), 2.0)
    wait_for(lambda: runs(job) and diary.exists())
    sql(deployment.db, "UPDATE job SET state = 'cancelled' WHERE state = 'running'")
    wait_for(lambda: "ends" in diary.read_text())
    [found] = ran_on(diary, changes(deployment.db))
    assert "ran on for" in found
