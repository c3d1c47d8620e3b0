"""From no machine to the most there may be and back: a real server, scaler and agents."""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from deployment import Deployment, Process, deployed, wait_for

from conveyor import Conveyor
from conveyor.autoscaler.agent_launch import machine_of
from conveyor.autoscaler.config import DEFAULT_NAME
from conveyor.autoscaler.providers.process import MachineNote
from conveyor.autoscaler.status import ScalerStatus, decode_note
from conveyor.core.job import JobRecord, State, WorkerInfo
from conveyor.system.process_identity import is_running

JOBS, MORE, MOST, SLOTS = 200, 5, 3, 2
# What each job does: it says that it began, works, and says that it has ended.
WORK = 'echo "$CONVEYOR_JOB_ID" >> began; sleep 0.4; echo "$CONVEYOR_JOB_ID" >> ended'
# The first machine of a pool that is started with this takes longer than it may.
SLOW = """
import os, sys, time
if "agent" in sys.argv and "machine=conveyor-slow-" in " ".join(sys.argv):
    try:
        os.close(os.open({path!r}, os.O_CREAT | os.O_EXCL))
        time.sleep(60)
    except FileExistsError:
        pass
"""


class Scene(NamedTuple):
    """A folder with the scaler's file, and everything that runs in it."""

    deployment: Deployment
    folder: Path
    belt: Conveyor
    server: Process

    def scaler(self) -> Process:
        token = self.folder / "admin"
        token.write_text(self.deployment.admin)
        return self.deployment._start(
            "scale",
            [
                *("scale", "--config", str(self.folder / "scale.toml"), "--every", "0.5"),
                *("--url", self.deployment.url, "--token-file", str(token)),
            ],
            {},
        )

    def agents(self) -> list[WorkerInfo]:
        workers = self.belt.store.workers().result()
        return [each for each in workers if machine_of(each.labels)]

    def completed(self) -> int:
        [queue] = self.belt.store.counts().result()
        return queue.counts.get(State.COMPLETED, 0)

    def status(self) -> ScalerStatus:
        leader = self.belt.store.leader(DEFAULT_NAME).result()
        note = decode_note(leader.note) if leader else None
        assert note is not None
        return note.status

    def drained(self) -> dict[str, float]:
        """Return when each agent was told to drain, as the server has noted it."""
        audit = self.belt.store.actions(limit=500).result()
        return {each.subject: each.at for each in audit if each.what == "drain worker"}

    def machines(self) -> int:
        """How many there are, by the notes of their provider."""
        notes: list[MachineNote] = []
        for path in (self.folder / "machines").glob("*.json"):
            with suppress(FileNotFoundError):  # its machine has gone meanwhile
                notes.append(msgspec.json.decode(path.read_bytes(), type=MachineNote))
        return sum(bool(note.pid) and is_running(note.pid, note.started) for note in notes)

    def processes(self) -> list[int]:
        """Return the processes here that are agents on machines of this scaler."""
        mine = str(self.folder / "agents").encode()
        return [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if mine in (words := _words(path)) and b"agent" in words
        ]


def _words(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\0")
    except OSError:
        return []


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    with deployed(request, request.param, tmp_path) as deployment:
        yield from scene_of(deployment, tmp_path)


def scene_of(deployment: Deployment, tmp_path: Path) -> Iterator[Scene]:
    server = deployment.server("--lease", "8")
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "sitecustomize.py").write_text(
        SLOW.format(path=str(tmp_path / "was-late"))
    )
    (tmp_path / "agents").write_text(deployment.token("agent"))
    pools = "".join(
        f"""
[pools.{name}]
commands = true
labels = ["kind={name}"]
slots = {SLOTS}
max = {MOST}
idle_for = 2
boot_deadline = 6
options = {{ env = {{ PYTHONPATH = {json.dumps(str(tmp_path / "late"))} }} }}
"""
        for name in ("quick", "slow")
    )
    (tmp_path / "scale.toml").write_text(
        f"""
[server]
url = "{deployment.url}"
token_file = "{tmp_path / "agents"}"

[providers.process]
folder = "{tmp_path / "machines"}"
grace = 10
{pools}"""
    )
    belt = deployment.closing(Conveyor(deployment.url, token=deployment.admin))
    made = Scene(deployment, tmp_path, belt, server)
    yield made
    deployment.close()
    for pid in made.processes():
        os.kill(pid, signal.SIGKILL)


def harm(
    jobs: Sequence[JobRecord],
    began: Sequence[str],
    ended: Sequence[str],
    drained: Mapping[str, float],
) -> list[str]:
    """Say what was lost, done more often than the crashes of agents explain, or drained busy.

    `drained` says when each agent was told to drain.
    """
    lines: list[str] = []
    effects, tries = Counter(ended), Counter(began)
    for job in jobs:
        if job.state is not State.COMPLETED:
            lines.append(f"{job.id} is {job.state}")
        if not 1 <= effects[job.id] <= 1 + job.crashes:
            lines.append(f"{job.id} was done {effects[job.id]} times")
        if not 1 <= tries[job.id] <= 1 + job.crashes:
            lines.append(f"{job.id} was begun {tries[job.id]} times")
        # What an agent holds when it is told, or gets after that, ends later.
        if (job.final_at or 0.0) > drained.get(job.worker or "", inf):
            lines.append(f"{job.id} was held when its agent was drained")
    return lines


def play(scene: Scene, first: Process, second: Process) -> tuple[str, int]:
    """Have it all happen; return which agent was killed, and how many there were at most.

    One agent is killed while it works, the scaler stops and the other one goes on, and the server
    is killed and comes back. A trickle goes on until machines go that it does not need.
    """
    work = scene.belt.command("sh", "-c", WORK, cwd=scene.folder)
    for number in range(JOBS):
        work.using(requires=[f"kind={('quick', 'slow')[number % 2]}"]).enqueue()
    wait_for(lambda: scene.completed() >= 10, 120)
    busy = next(each for each in scene.agents() if "kind=quick" in each.labels)
    os.kill(busy.pid, signal.SIGKILL)
    assert first.stop() == 0
    second.wait_for_output("scale.leading")
    scene.server.stop(signal.SIGKILL)
    scene.deployment.server("--lease", "8")

    most = 0

    def is_done() -> bool:
        nonlocal most
        most = max(most, scene.machines())
        return scene.completed() == JOBS

    wait_for(is_done, 120)
    while not scene.drained() or scene.completed() < JOBS + MORE:
        work.using(requires=["kind=quick"]).enqueue().result(60)
    work.using(requires=["kind=quick"]).enqueue().result(60)
    return busy.id, most


def test_a_burst_completes_on_machines_that_come_and_go(scene: Scene) -> None:
    first = scene.scaler()
    first.wait_for_output("scale.leading")
    second = scene.scaler()
    second.wait_for_output("scale.standing_by")
    assert scene.processes() == []
    killed, most = play(scene, first, second)
    wait_for(lambda: not scene.processes() and not scene.agents(), 120)
    wait_for(lambda: all(each.have == each.wanted == 0 for each in scene.status().pools), 120)

    jobs = scene.belt.jobs(limit=1000)
    assert len(jobs) > JOBS + MORE
    drained = scene.drained()
    began, ended = ((scene.folder / name).read_text().splitlines() for name in ("began", "ended"))
    assert harm(jobs, began, ended, drained) == []
    assert min(drained.values()) < max(job.final_at or 0.0 for job in jobs)
    # What the killed agent held crashed, and nothing else.
    crashed = [job for job in jobs if job.crashes]
    lost = [each for job in crashed for each in scene.belt.store.history(job.id).result()]
    assert {each.worker for each in lost} == {killed}
    assert MOST < most <= 2 * MOST

    events = scene.status().events
    acts = Counter(event.did for event in events)
    assert set(acts) <= {"start", "drain", "drain_refused", "stop", "stopped"}
    assert acts["drain"] == len(drained)
    started = Counter[str]()
    for event in events:
        if event.did == "start":
            started[event.subject] += event.count
    # One came for the agent that was killed, and one for the machine that was too slow.
    assert started["quick"] >= MOST + 1
    assert started["slow"] >= MOST + 1
    late = next(event for event in events if event.did == "stop")
    assert late.why == "its agent did not register within 6 s"

    ran = scene.deployment.run("scale", "status")
    assert ran.popen.wait(60) == 0
    assert re.search(r"^quick\t0\t0\t0\t0\t0\t0\t0$", ran.log.read_text(), re.MULTILINE)
    assert second.stop() == 0
    assert scene.processes() == []


def test_the_harness_detects_a_job_that_was_lost_run_twice_or_drained() -> None:
    fine = JobRecord(
        seq=1,
        id="a",
        task="t",
        queue="default",
        args=b"{}",
        state=State.COMPLETED,
        priority=0,
        run_at=0.0,
        enqueued_at=0.0,
        worker="w",
        final_at=10.0,
    )
    assert harm([fine], ["a"], ["a"], {"w": 10.0}) == []
    assert harm([fine], ["a"], ["a"], {"w": 9.9}) == ["a was held when its agent was drained"]
    assert harm([fine], ["a", "a"], ["a"], {}) == ["a was begun 2 times"]
    assert harm([fine], ["a"], [], {}) == ["a was done 0 times"]
    assert harm([fine], ["a"], ["a", "a"], {}) == ["a was done 2 times"]
    lost = msgspec.structs.replace(fine, state=State.DISCARDED)
    assert harm([lost], ["a"], ["a"], {}) == ["a is discarded"]
