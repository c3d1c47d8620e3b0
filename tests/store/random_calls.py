"""Makes random calls of every kind at a store, and says which failed otherwise than calls may.

Some are made in transactions of an application, which enqueue and complete a job. As a program:
`random_calls.py URL SEED CALLS`. It prints how many calls were made, as JSON, and the errors that
no caller should see.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from calls import BROKEN, new

from conveyor.core.job import (
    FINAL,
    Callback,
    JobRecord,
    NewJob,
    Options,
    OutputChunk,
    ScheduleInfo,
    WhenFull,
    WorkerInfo,
)
from conveyor.core.lifecycle import Interrupted, Outcome, Snoozed, Succeeded
from conveyor.core.pending import run_sync
from conveyor.errors import (
    ConveyorError,
    DuplicateIdError,
    InvalidTransitionError,
    NotFoundError,
    QueueFullError,
)
from conveyor.runners.caller_completion import complete_within
from conveyor.store.messages import Claimant, Lease, Offered, Report, Want
from conveyor.store.open import open_store
from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.store import PostgresStore
from conveyor.store.protocol import Store

_NOT_WAITING: tuple[WhenFull, ...] = ("refuse", "drop_oldest")
# How the commit of a transaction fails whose job another worker has by then.
LOST_LEASE = "CV010"
# What a call may be told about jobs that others have changed meanwhile.
EXPECTED = DuplicateIdError, InvalidTransitionError, NotFoundError, QueueFullError
QUEUES, BOUNDED = ("q0", "q1", "q2"), ("b0", "b1")
WORKERS = ("w0", "w1", "w2", "w3")
ALERT = Callback(on="discarded", task="alert", parameter="ended", queue="q1")
AFTER = Callback(on="finished", task="after", parameter="ended", queue="b0")
# How many jobs a caller makes before its callbacks use new queues and lanes.
NEW_AFTER, MOST_NEW = 100, 40
EVERY = dict.fromkeys(FINAL, 0.0)
WORKER = WorkerInfo(
    id="", host="h", boot_id="b", pid=1, pid_started=1.0, started_at=1.0, slots=1, queues=("q0",)
)


def labels_of(group: int) -> frozenset[str]:
    """Return the labels that four callers make lanes for."""
    return frozenset(f"l{group}-{number}" for number in range(MOST_NEW)) | {"gpu"}


class Application:
    """A session of an application, in whose transactions jobs are enqueued and completed."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store
        self._session = psycopg.connect(parse_address(store.url).server)

    def close(self) -> None:
        self._session.close()

    def transact(self, jobs: list[NewJob], how: WhenFull, held: dict[str, JobRecord]) -> None:
        """Enqueue these jobs, and complete the last one that is held."""
        try:
            with self._session.transaction():
                run_sync(
                    self._store.insert_within(
                        self._session, jobs, capacity=5, when_full=how, in_coroutine=False
                    )
                )
                for job in list(held.values())[-1:]:
                    held.pop(job.id)
                    run_sync(
                        complete_within(
                            self._session, job, b"1", self._store.schema, in_coroutine=False
                        )
                    )
        except psycopg.Error as error:
            if error.sqlstate != LOST_LEASE:
                raise


class Caller:
    """One process's calls, drawn from a seed, and the jobs that it holds."""

    def __init__(self, store: Store, seed: int) -> None:
        self.store = store
        self.draw = random.Random(seed)
        self.name, self.group = f"c{seed}", seed // 4
        self.made = 0
        self.held: dict[str, JobRecord] = {}
        self.offers: list[str] = []
        self.errors: list[str] = []
        self.counts: Counter[str] = Counter()
        self.application = Application(store) if isinstance(store, PostgresStore) else None
        self.kinds: list[Callable[[], Any]] = [
            *[self.transact] * (4 if self.application else 0),
            *[self.insert, self.insert_bounded, self.claim, self.exchange, self.settle] * 4,
            *[self.extend, self.cancel, self.retry, self.rescue, self.stage, self.prune] * 2,
            *(self.delete, self.pause, self.beat, self.order, self.dismiss, self.write),
            *(self.ask_for_offer, self.withdraw, self.tick, self.find, self.extend_worker),
        ]

    def call(self) -> None:
        kind = self.draw.choice(self.kinds)
        self.counts[kind.__name__] += 1
        try:
            kind()
        except EXPECTED:
            pass
        except (ConveyorError, psycopg.Error) as error:
            self.errors.append(f"{kind.__name__}: {error!r}")

    def jobs(self, queue: str) -> list[NewJob]:
        keys = [None, None, *(f"k{number}" for number in range(4))]
        return [self.job(queue, self.draw.choice(keys)) for _ in range(self.draw.randint(1, 4))]

    def job(self, queue: str, key: str | None) -> NewJob:
        self.made += 1
        options: dict[str, Any] = {"retries": 2, "requires": self.draw.choice(((), (), ("gpu",)))}
        if self.draw.random() < 0.05:
            options["requires"] = (f"l{self.group}-{min(self.made // NEW_AFTER, MOST_NEW - 1)}",)
        if key is not None:
            options["key"] = key
            options["on_conflict"] = self.draw.choice(
                ("keep", "keep", "replace", "postpone", "join")
            )
        callbacks = self.draw.choice(((), (), (ALERT, AFTER), self.new_callbacks()))
        return new(queue=queue, id=f"{self.name}-{self.made}", callbacks=callbacks, **options)

    def new_callbacks(self) -> tuple[Callback, ...]:
        """Return callbacks into queues and lanes that several callers make at about one time."""
        number = min(self.made // NEW_AFTER, MOST_NEW - 1)
        options = Options(requires=self.draw.choice(((), (f"l{self.group}-{number}",))))
        queues = self.draw.sample([f"n{self.group}-{number}", f"m{self.group}-{number}", "q0"], 2)
        return (
            msgspec.structs.replace(ALERT, queue=queues[0], options=options),
            msgspec.structs.replace(AFTER, queue=queues[1]),
        )

    def some_id(self) -> str:
        other = f"c{self.draw.randrange(4)}"
        return f"{other}-{self.draw.randint(max(1, self.made - 40), self.made + 5)}"

    def some_held(self) -> list[JobRecord]:
        return self.draw.sample(list(self.held.values()), min(len(self.held), 4))

    def insert(self) -> None:
        self.store.insert(self.jobs(self.draw.choice(QUEUES))).result()

    def insert_bounded(self) -> None:
        how: Any = self.draw.choice(["wait", "refuse", "drop_oldest"])
        answer = self.store.insert(
            self.jobs(self.draw.choice(BOUNDED)),
            capacity=self.draw.choice((5, 5, 6)),
            when_full=how,
        ).result()
        if isinstance(answer, Offered):
            self.offers.append(answer.offer)

    def wants(self) -> list[Want]:
        names = self.draw.sample([*QUEUES, *BOUNDED], 3)
        return [Want(name, 3) for name in names]

    def claimant(self) -> Claimant:
        confirm = self.draw.choice((None, None, 0.05))
        labels = self.draw.choice((labels_of(self.group), frozenset[str]()))
        return Claimant(self.draw.choice(WORKERS), self.draw.choice((0.05, 5.0)), labels, confirm)

    def claim(self) -> None:
        self.hold(self.store.claim(self.wants(), self.claimant(), limit=5).result().jobs)

    def reports(self) -> list[Report]:
        outcomes: list[Outcome] = [
            Succeeded(b"1"),
            Succeeded(),
            BROKEN,
            Interrupted(),
            Snoozed(0.01),
        ]
        weights = [6, 6, 1, 1, 1]
        return [
            Report(job.id, job.lease, self.draw.choices(outcomes, weights)[0])
            for job in self.some_held()
        ]

    def exchange(self) -> None:
        reports = self.reports()
        done = self.store.exchange(reports, self.wants(), self.claimant(), limit=5).result()
        self.drop(reports)
        self.hold(done.jobs)

    def settle(self) -> None:
        reports = self.reports()
        self.store.settle(reports).result()
        self.drop(reports)

    def hold(self, jobs: Any) -> None:
        self.held.update({job.id: job for job in jobs})

    def drop(self, reports: list[Report]) -> None:
        for report in reports:
            self.held.pop(report.id, None)

    def extend(self) -> None:
        leases = [Lease(job.id, job.lease) for job in self.some_held()]
        for each in self.store.extend(leases, lease_for=5.0).result():
            if each.verdict == "lost":
                self.held.pop(each.id, None)

    def extend_worker(self) -> None:
        self.store.extend_worker(self.draw.choice(WORKERS), lease_for=5.0).result()

    def write(self) -> None:
        chunks = [
            OutputChunk(
                job_id=job.id, lease=job.lease, offset=0, stream="stdout", at=1.0, data=b"x"
            )
            for job in self.some_held()
        ]
        self.store.write_output(chunks).result()

    def cancel(self) -> None:
        self.store.cancel(self.some_id(), reason="r").result()

    def retry(self) -> None:
        self.store.retry(self.some_id()).result()

    def delete(self) -> None:
        self.store.delete(self.some_id()).result()

    def rescue(self) -> None:
        dead = self.draw.sample(WORKERS, self.draw.randrange(2))
        self.store.rescue(dead=dead, limit=20).result()

    def stage(self) -> None:
        self.store.stage(limit=20).result()

    def prune(self) -> None:
        self.store.prune(EVERY, limit=20).result()

    def pause(self) -> None:
        self.store.set_paused(self.draw.choice(QUEUES), paused=self.draw.random() < 0.3).result()

    def transact(self) -> None:
        """Enqueue into a bounded queue and complete a job, in a transaction of the application.

        With one bounded queue and no unique key, it never meets a deadlock.
        """
        assert self.application
        queue, how = self.draw.choice(BOUNDED), self.draw.choice(_NOT_WAITING)
        jobs = [self.job(queue, None) for _ in range(self.draw.randint(1, 2))]
        self.application.transact(jobs, how, self.held)

    def beat(self) -> None:
        self.store.beat(msgspec.structs.replace(WORKER, id=self.draw.choice(WORKERS))).result()

    def order(self) -> None:
        how: Any = self.draw.choice(["work", "work", "quiet"])
        idle = self.draw.random() < 0.5
        self.store.order(self.draw.choice(WORKERS), how, if_idle=idle).result()

    def dismiss(self) -> None:
        self.store.dismiss(self.draw.choice(WORKERS), force=True).result()

    def ask_for_offer(self) -> None:
        if self.offers:
            self.store.accepted(self.draw.choice(self.offers)).result()

    def withdraw(self) -> None:
        if self.offers:
            self.store.withdraw(self.offers.pop()).result()

    def tick(self) -> None:
        at = float(self.draw.randrange(10_000))
        rule = ScheduleInfo(
            name="s", cron="* * * * *", timezone="UTC", missed="once", next_at=at, last_at=None
        )
        stored = self.store.put_schedule(rule).result()
        due = stored.next_at
        jobs = self.jobs("q0")
        self.store.tick("s", due_at=due, next_at=due + 60, jobs=jobs).result()

    def find(self) -> None:
        self.store.counts().result()
        self.store.check().result()


PROGRAM = Path(__file__)


def call_at_random(url: str, seeds: range, calls: int) -> list[str]:
    """Have a process for each seed make calls; return the errors that no caller should see."""
    paths = os.pathsep.join(map(str, (PROGRAM.parent, PROGRAM.parents[1])))
    running = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), url, str(seed), str(calls)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )
        for seed in seeds
    ]
    answers: list[dict[str, Any]] = [json.loads(each.communicate()[0]) for each in running]
    return [error for answer in answers for error in answer["errors"]]


def main(url: str, seed: int, calls: int) -> None:
    store = open_store(url)
    caller = Caller(store, seed)
    for _ in range(calls):
        caller.call()
    if caller.application:
        caller.application.close()
    store.close()
    print(json.dumps({"calls": caller.counts, "errors": caller.errors}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
