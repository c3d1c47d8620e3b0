"""A small system with two troubles, always the same: what the documentation shows of it."""

from __future__ import annotations

import random

from conveyor.core.job import ErrorInfo, NewJob, Options, WorkerInfo
from conveyor.core.lifecycle import Failed, Succeeded
from conveyor.core.overview import Overview
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Claimant, Report, Want
from conveyor.testing import FakeClock

# How many jobs a minute each queue gets, and how many it can run.
RATES = {"mail": (250, 400), "reports": (30, 60), "webhooks": (430, 330)}
MINUTES, TROUBLED = 75, 8
BROKEN = ErrorInfo("TimeoutError", "no answer within 10 s")


def sample_overview() -> Overview:
    """Return the overview of a system in which one queue has fallen behind."""
    clock, draw = FakeClock(1_000_000_020.0), random.Random(7)
    store = MemoryStore(clock, draw=draw.random)
    for minute in range(MINUTES):
        is_troubled = minute >= MINUTES - TROUBLED
        for queue, (enqueued, most) in RATES.items():
            jobs = [
                NewJob(
                    id=f"{queue}-{minute}-{n}", task=queue, queue=queue, options=Options(retries=5)
                )
                for n in range(round(enqueued * draw.uniform(0.8, 1.2)))
            ]
            store.insert(jobs).result()
            clock.advance(2.0)
            limit = most if is_troubled else 2 * most
            _work(store, queue, limit, failing=0.3 if is_troubled and queue == "webhooks" else 0.01)
        clock.advance(54.0)
        store.stage(limit=10_000).result()
    store.set_paused("reports", paused=True).result()
    store.insert([NewJob(id=f"r{n}", task="reports", queue="reports") for n in range(34)]).result()
    store.claim([Want("webhooks", 24)], Claimant("web-1-4121-8c1f"), limit=24).result()
    for host, running in (("web-1", 24), ("web-2", 3)):
        store.beat(_worker(host, running, clock.now())).result()
    return store.overview(queues=10).result()


def _work(store: MemoryStore, queue: str, limit: int, *, failing: float) -> None:
    jobs = store.claim([Want(queue, limit)], Claimant("w"), limit=limit).result().jobs
    failed = round(failing * len(jobs))
    store.settle(
        [
            Report(job.id, job.lease, Failed(BROKEN) if number < failed else Succeeded())
            for number, job in enumerate(jobs)
        ]
    ).result()


def _worker(host: str, running: int, now: float) -> WorkerInfo:
    queues = ("webhooks",) if host == "web-1" else ("mail", "reports")
    return WorkerInfo(
        id=f"{host}-4121-8c1f", host=host, boot_id="b", pid=1, pid_started=1.0, started_at=now,
        slots=24, running=running, queues=queues,
    )  # fmt: skip
