"""How long the calls behind a dashboard's pages take with a million jobs: `python bench/pages.py`.

The store is filled with jobs of which most have completed, some have failed and a few wait or run;
one queue, one task and one worker have only ten of them, at the beginning.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conveyor.core.job import ErrorInfo, NewJob, State
from conveyor.core.lifecycle import Failed, Outcome, Succeeded
from conveyor.store.messages import Claimant, Filter, Report, Want
from conveyor.store.open import open_store
from conveyor.store.protocol import Store

BATCH = 10_000
TRACEBACK = "Traceback (most recent call last):\n" + "".join(
    f'  File "/srv/app/part{number}.py", line {number}, in step{number}\n    call()\n'
    for number in range(20)
)


def outcome_of(number: int) -> Outcome:
    """Return how an attempt ends: one of forty fails."""
    if number % 40:
        return Succeeded()
    kind = f"Error{number // 40 % 7}"
    return Failed(ErrorInfo(kind, f"job {number} failed", TRACEBACK + f"{kind}: {number}"))


def fill(store: Store, jobs: int) -> None:
    """Add the jobs."""
    rare = [
        NewJob(id=f"rare-{n}", task="rare", queue="rare", args=b'{"a":"needle"}') for n in range(10)
    ]
    store.insert(rare).result(60)
    run(store, "rare", "rare-worker", 10)
    for first in range(0, jobs, BATCH):
        many = [
            NewJob(
                id=f"job-{number}", task=f"task{number % 5}", queue="many",
                args=b'{"url":"https://example.org/%d","order":%d}' % (number, number),
            )
            for number in range(first, min(first + BATCH, jobs))
        ]  # fmt: skip
        store.insert(many).result(600)
        if first + 2 * BATCH < jobs:  # the newest ones wait
            run(store, "many", f"worker-{first // BATCH % 4}", len(many))


def run(store: Store, queue: str, worker: str, count: int) -> None:
    """Claim so many jobs and settle them."""
    left = count
    while left > 0:
        claimant = Claimant(worker, 600.0)
        jobs = store.claim([Want(queue, 1000)], claimant, limit=1000).result(60).jobs
        reports = [
            Report(job.id, job.lease, outcome_of(job.seq) if queue == "many" else Succeeded())
            for job in jobs
        ]
        store.settle(reports).result(60)
        left -= len(jobs)


def calls(store: Store) -> dict[str, Callable[[], Any]]:
    """Return the calls by name."""
    discarded, completed = frozenset({State.DISCARDED}), frozenset({State.COMPLETED})
    fingerprint = store.failures().result(60).groups[0].fingerprint
    filters = {
        "newest": Filter(),
        "oldest": Filter(oldest_first=True),
        "queue of all": Filter(queue="many"),
        "rare queue": Filter(queue="rare"),
        "rare task, completed": Filter(task="rare", states=completed),
        "rare worker": Filter(worker="rare-worker"),
        "discarded": Filter(states=discarded),
        "running": Filter(states=frozenset({State.RUNNING})),
        "one failure": Filter(error=fingerprint),
        "text that is nowhere": Filter(text="nowhere"),
    }
    found: dict[str, Callable[[], Any]] = {}
    for name, which in filters.items():
        found[f"list: {name}"] = lambda which=which: store.find(which, limit=50).result(60)
        found[f"count: {name}"] = lambda which=which: store.job_counts(which).result(60)
    found["failures"] = lambda: store.failures().result(60)
    found["one group"] = lambda: store.failure(fingerprint).result(60)
    found["match"] = lambda: store.match(Filter(states=discarded), "retry").result(60)
    found["queues"] = lambda: store.counts().result(60)
    found["audit"] = lambda: store.actions(limit=50).result(60)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--url", default="", help="an empty store; default: a new SQLite file")
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = given.url or str(Path(folder) / "jobs.db")
        store = open_store(url)
        began = time.perf_counter()
        fill(store, given.jobs)
        print(f"{given.jobs:,} jobs in {time.perf_counter() - began:.0f} s")
        print(f"{'call':34}{'median ms':>12}{'worst ms':>12}")
        for name, call in calls(store).items():
            took: list[float] = []
            for _ in range(given.times):
                began = time.perf_counter()
                call()
                took.append(1000 * (time.perf_counter() - began))
            print(f"{name:34}{statistics.median(took):12.1f}{max(took):12.1f}")
        store.close()


if __name__ == "__main__":
    main()
