"""One of several processes that put jobs into one bounded queue as fast as they can.

    python producers.py conveyor|check-then-insert DATABASE JOBS CAPACITY

Prints what was accepted and what was refused, as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import apsw

from conveyor import Conveyor, QueueFullError


def on_conveyor(database: str, jobs: int, capacity: int) -> dict[str, list[str]]:
    """Enqueue, in turns waiting for room and not waiting."""
    belt = Conveyor(f"{database}?durability=normal")
    queue = belt.queue("bounded", capacity=capacity)

    @queue.task(name="noop")
    async def noop() -> None: ...

    accepted: list[str] = []
    refused: list[str] = []
    for number in range(jobs):
        try:
            accepted.append(noop.using(wait=20 if number % 2 else 0).enqueue().id)
        except QueueFullError as error:
            refused.append(str(error))
    belt.close()
    return {"accepted": accepted, "refused": refused}


def check_then_insert(database: str, jobs: int, capacity: int) -> dict[str, list[str]]:
    """Enqueue as a naive queue does, which looks first and inserts then: the known-bad one."""
    db = apsw.Connection(database)
    db.set_busy_timeout(10_000)
    accepted: list[str] = []
    for _ in range(jobs):
        [(depth,)] = db.execute("SELECT count(*) FROM job WHERE state = 'available'")
        if depth < capacity:
            db.execute("INSERT INTO job (state) VALUES ('available')")
            accepted.append("")
    return {"accepted": accepted, "refused": []}


KINDS: dict[str, Callable[[str, int, int], dict[str, list[str]]]] = {
    "conveyor": on_conveyor,
    "check-then-insert": check_then_insert,
}

if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(KINDS[sys.argv[1]](sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
