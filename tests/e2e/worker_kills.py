"""Two workers at a time, each killed with SIGKILL at a random moment and then replaced.

    python worker_kills.py conveyor|delete-on-fetch DATABASE RUNS KILLS

Exits with 0 after all kills. The parent never opens the database, so that each worker is
a fork that starts within milliseconds, as a process of its own.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import apsw

# Loaded once here, so that a fork begins to work within milliseconds.
import conveyor.store.sqlite.store
import conveyor.worker.worker  # noqa: F401
from conveyor import Conveyor, current_job

AT_ONCE = 2
# Long enough to claim and begin, short enough to be hit in every phase of a job's life.
SHORTEST, LONGEST = 0.005, 0.060
# The jobs last a little, so that many are killed while they run.
JOB = 0.001
# Held back, so that each kill hits what was just claimed.
CAPACITY = 200


def app(database: str, runs: str) -> Conveyor:
    """Return the jobs: each writes down that it runs, under which lease, and returns the lease."""
    # A slow fsync would keep workers from having jobs when they are killed.
    belt = Conveyor(f"{database}?durability=normal")
    file = os.open(runs, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note() -> int:
        job = current_job()
        # A process that is killed may leave a part of a line, which must not spoil the next one.
        os.write(file, f"\n{job.id} {job.lease}\n".encode())
        return job.lease

    # Here every job is among the killed ones many times, and none of them is to blame.
    queue = belt.queue("torture", capacity=CAPACITY)

    @queue.task(name="coroutine", crash_limit=100_000)
    async def coroutine() -> int:
        await asyncio.sleep(JOB)
        return note()

    @queue.task(name="thread", crash_limit=100_000)
    def thread() -> int:
        time.sleep(JOB)
        return note()

    return belt


def work_on_conveyor(database: str, runs: str) -> None:
    """Work like `conveyor worker` until killed."""
    belt = app(database, runs)
    # The sidecar is a process of its own, and takes longer to start than these workers live.
    asyncio.run(belt.worker(queues=["torture"], slots=4, keep=False).run())


def delete_on_fetch(database: str, runs: str) -> None:
    """Work as a naive queue does, which forgets a job when it hands it out: the known-bad one."""
    db = apsw.Connection(database)
    db.set_busy_timeout(10_000)
    db.execute("PRAGMA synchronous = OFF")  # as above: it is killed after a few milliseconds
    file = os.open(runs, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while True:
        for (job,) in list(
            db.execute("DELETE FROM naive WHERE id = (SELECT id FROM naive LIMIT 1) RETURNING id")
        ):
            time.sleep(JOB)
            os.write(file, f"{job} 1\n".encode())
            db.execute("INSERT INTO done VALUES (?)", (job,))


KINDS: dict[str, Callable[[str, str], None]] = {
    "conveyor": work_on_conveyor,
    "delete-on-fetch": delete_on_fetch,
}


def start(work: Callable[[str, str], None], database: str, runs: str) -> int:
    """Fork a worker."""
    pid = os.fork()
    if pid == 0:
        try:
            work(database, runs)
        except BaseException:  # noqa: BLE001 - a fork must never go on as its parent
            traceback.print_exc()
        finally:
            os._exit(1)
    return pid


def main() -> None:
    """Start, kill, start again."""
    kind, database, runs, kills = sys.argv[1:5]
    work = KINDS[kind]
    draw = random.Random(4711)
    # What workers say while they are killed is of no interest, but a traceback would be.
    errors = os.open(Path(runs).with_suffix(".err"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(errors, 2)
    ended_by_itself = False
    victims = [start(work, database, runs) for _ in range(AT_ONCE)]
    for _ in range(int(kills)):
        time.sleep(draw.uniform(SHORTEST, LONGEST))
        victim = victims.pop(draw.randrange(AT_ONCE))
        ended_by_itself = not kill(victim)
        if ended_by_itself:
            break
        victims.append(start(work, database, runs))
    for victim in victims:
        kill(victim)
    sys.exit("a worker ended by itself" if ended_by_itself else 0)


def kill(victim: int) -> bool:
    """Kill a worker; say whether that is what ended it."""
    os.kill(victim, signal.SIGKILL)
    _, status = os.waitpid(victim, 0)
    return os.WIFSIGNALED(status)


if __name__ == "__main__":
    main()
