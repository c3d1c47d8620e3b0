"""Two workers at a time that run programs, each killed at a random moment, and what is left.

    python command_worker_kills.py conveyor|plain-subprocess KILLS PATIENCE

Works in the directory of the jobs, and prints one line of JSON for each kill. What is left after
PATIENCE seconds is recorded and killed. The parent never opens the database, so that each
worker is a fork that starts within milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import recording_jobs
import tree
from evidence import Lines, started_by

# Loaded once here, so that a fork begins to work within milliseconds.
import conveyor.store.sqlite.store
import conveyor.worker.worker  # noqa: F401

AT_ONCE = 2
# Hits claims and starts as well as running jobs and settlements.
SHORTEST, LONGEST = 0.02, 0.8
SLOTS = 6
LOOK = 0.01


class Victim(NamedTuple):
    """A worker."""

    pid: int
    name: str


def work_on_conveyor() -> None:
    """Work like `conveyor worker` until killed."""
    belt = recording_jobs.declared("jobs.db")
    asyncio.run(belt.worker(queues=[recording_jobs.QUEUE], slots=SLOTS).run())


def run_by_subprocess() -> None:
    """Run programs one after the other as a naive queue does: the known-bad one."""
    number = 0
    while True:
        number += 1
        env = os.environ | {"CONVEYOR_JOB_ID": f"{os.getpid()}-{number}", "CONVEYOR_LEASE": "1"}
        program = [sys.executable, "-I", "-S", tree.__file__]
        argv = [*program, recording_jobs.LINES, "0.05", "", "listening"]
        subprocess.run(argv, env=env, check=True)


KINDS: dict[str, Callable[[], None]] = {
    "conveyor": work_on_conveyor,
    "plain-subprocess": run_by_subprocess,
}


def start(work: Callable[[], None], name: str) -> Victim:
    """Fork a worker; all that it starts inherits its name."""
    pid = os.fork()
    if pid == 0:
        try:
            os.environ[tree.MARK] = name
            work()
        except BaseException:  # noqa: BLE001 - a fork must never go on as its parent
            traceback.print_exc()
        finally:
            os._exit(1)
    return Victim(pid, name)


def kill(victim: Victim, lines: Lines, patience: float) -> dict[str, object]:
    """Kill a worker, and tell what became of all that it had started.

    `jobs` is after how many seconds no process was left of any that had written something, `all`
    when none at all was; None if some stayed, and they are killed here.
    """
    started = started_by(victim.name)
    os.kill(victim.pid, signal.SIGKILL)
    _, status = os.waitpid(victim.pid, 0)
    died = time.monotonic()
    told: dict[str, object] = {"killed": os.WIFSIGNALED(status), "started": len(started)}
    while time.monotonic() - died < patience and "all" not in told:
        time.sleep(LOOK)
        lines.look()
        if "jobs" not in told and not writing(victim, lines):
            told["jobs"] = time.monotonic() - died
        if not started_by(victim.name) and "jobs" in told:
            told["all"] = time.monotonic() - died
    for pid in {*started_by(victim.name), *writing(victim, lines)}:
        os.kill(pid, signal.SIGKILL)
    return told


def writing(victim: Victim, lines: Lines) -> set[int]:
    """Return the processes of a dead worker's jobs that live."""
    words = ("begin", "child")
    found = [x for x in lines.all if x.worker == victim.name and x.word in words]
    return {line.pid for line in found if line.pid != victim.pid and line.alive}


def main() -> None:
    """Start, kill, start again."""
    kind, kills, patience = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    draw = random.Random(4711)
    lines = Lines(Path(recording_jobs.LINES))
    # What workers say while they are killed is of no interest, but a traceback would be.
    os.dup2(os.open("errors", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    victims: list[Victim] = []
    try:
        for number in range(kills):
            victims.append(start(KINDS[kind], f"victim-{number}"))
            if len(victims) == AT_ONCE:
                time.sleep(draw.uniform(SHORTEST, LONGEST))
                victim = victims.pop(draw.randrange(AT_ONCE))
                print(json.dumps(kill(victim, lines, patience)), flush=True)
    finally:
        for victim in victims:
            print(json.dumps(kill(victim, lines, patience)), flush=True)


if __name__ == "__main__":
    main()
