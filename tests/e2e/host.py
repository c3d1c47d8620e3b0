"""A worker in a program that cancels its own jobs: an id a line comes in, the answer goes out.

python host.py SLOTS
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import recording_jobs

from conveyor import Conveyor

AT_ONCE = 200
PATIENCE = 30.0


def main() -> None:
    belt = recording_jobs.declared("jobs.db")
    belt.start(slots=int(sys.argv[1]), queues=[recording_jobs.QUEUE])
    with ThreadPoolExecutor(AT_ONCE) as askers:
        for line in sys.stdin:
            askers.submit(cancel, belt, line.strip())
    belt.stop(1)
    belt.close()


def cancel(belt: Conveyor, job_id: str) -> None:
    answer = belt.job(job_id).cancel(wait=PATIENCE)
    os.write(1, f"{job_id} {answer}\n".encode())  # one write, so that no two answers mix


if __name__ == "__main__":
    main()
