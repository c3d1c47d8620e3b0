"""Workers of one PostgreSQL store, each killed with SIGKILL at a random moment and then replaced.

    python postgres_kills.py conveyor|delete-on-fetch URL RUNS KILLS

Exits with 0 after all kills. The parent never opens the database, so that each worker is a fork
that starts within milliseconds, as a process of its own. Most are killed a moment after one of
their jobs has begun, however fast the machine is, and the others while they start.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import select
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg
import worker_kills

# Loaded once here, so that a fork begins to work within milliseconds.
import conveyor.store.postgres.store
import conveyor.worker.worker  # noqa: F401
from conveyor import Conveyor, current_job

AT_ONCE = 4
# How long a job lasts, how long after the begin of one its worker is killed, and how long after its
# own begin a worker that is killed while it starts.
JOB, LATER, STARTING = 0.001, 0.005, 0.05
EARLY = 0.1
# A worker that has begun no job after this time is killed as it is.
PATIENCE = 10.0
QUEUE, CAPACITY = "torture", 200


def app(url: str, runs: str, begun: int = -1) -> Conveyor:
    """Return the jobs: each writes down that it runs, under which lease, and returns the lease."""
    belt = Conveyor(url)
    file = os.open(runs, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def begin() -> None:
        if begun >= 0:
            # Nobody reads of the worker that stays, whose pipe is full some time.
            with suppress(BlockingIOError):
                os.write(begun, b"b")

    def note() -> int:
        job = current_job()
        os.write(file, f"{job.id} {job.lease}\n".encode())
        return job.lease

    # Here every job is among the killed ones many times, and none of them is to blame.
    queue = belt.queue(QUEUE, capacity=CAPACITY)

    @queue.task(name="coroutine", crash_limit=100_000)
    async def coroutine() -> int:
        begin()
        await asyncio.sleep(JOB)
        return note()

    @queue.task(name="thread", crash_limit=100_000)
    def thread() -> int:
        begin()
        time.sleep(JOB)
        return note()

    return belt


def work_on_conveyor(url: str, runs: str, begun: int) -> None:
    """Work like `conveyor worker` until killed."""
    belt = app(url, runs, begun)
    # The sidecar is a process of its own, and takes longer to start than these workers live.
    asyncio.run(belt.worker(queues=[QUEUE], slots=4, keep=False).run())


def delete_on_fetch(url: str, runs: str, begun: int) -> None:
    """Work as a naive queue does, which forgets a job when it hands it out: the known-bad one."""
    file = os.open(runs, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with psycopg.connect(url.partition("&schema=")[0], autocommit=True) as db:
        while True:
            for (job,) in db.execute(
                "DELETE FROM naive WHERE id IN"
                " (SELECT id FROM naive LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id"
            ).fetchall():
                with suppress(BlockingIOError):
                    os.write(begun, b"b")
                time.sleep(JOB)
                os.write(file, f"{job} 1\n".encode())
                db.execute("INSERT INTO done VALUES (%s)", (job,))


KINDS: dict[str, Callable[[str, str, int], None]] = {
    "conveyor": work_on_conveyor,
    "delete-on-fetch": delete_on_fetch,
}


class Victim:
    """A worker, and the pipe by which it says that a job begins."""

    def __init__(self, work: Callable[[str, str, int], None], url: str, runs: str) -> None:
        self._read, write = os.pipe()
        os.set_blocking(write, False)
        self._pid = worker_kills.start(lambda *of: work(*of, write), url, runs)
        os.close(write)

    def wait_for_begin(self) -> None:
        """Wait until one of its jobs begins."""
        select.select([self._read], [], [], PATIENCE)

    def kill(self) -> bool:
        """Kill it; say whether that is what ended it."""
        os.close(self._read)
        return worker_kills.kill(self._pid)


def main() -> None:
    """Start, kill, start again."""
    kind, url, runs, kills = sys.argv[1:5]
    draw = random.Random(4711)
    # What workers say while they are killed is of no interest, but a traceback would be.
    errors = os.open(Path(runs).with_suffix(".err"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(errors, 2)
    gc.freeze()  # else the forks copy what they only look at
    ended_by_itself = False
    # As on any host that does not only have workers which die at once, one stays.
    survivor = Victim(KINDS[kind], url, runs)
    victims = [Victim(KINDS[kind], url, runs) for _ in range(AT_ONCE)]
    for _ in range(int(kills)):
        if draw.random() < EARLY:
            victim = victims.pop()
            time.sleep(draw.uniform(0.0, STARTING))
        else:
            victim = victims.pop(0)
            victim.wait_for_begin()
            time.sleep(draw.uniform(0.0, LATER))
        ended_by_itself = not victim.kill()
        if ended_by_itself:
            break
        victims.append(Victim(KINDS[kind], url, runs))
    for victim in [*victims, survivor]:
        victim.kill()
    sys.exit("a worker ended by itself" if ended_by_itself else 0)


if __name__ == "__main__":
    main()
