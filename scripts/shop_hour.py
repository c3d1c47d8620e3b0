"""An hour of a shop's jobs, run through a store with a clock of its own: what the pictures show.

Every job is enqueued, claimed, run and settled by the operations of the store, as producers and
workers do; only the time is made up. Since a deploy 22 minutes ago webhooks time out.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from itertools import count

import msgspec

from conveyor.core.access import Action
from conveyor.core.job import (
    ErrorInfo,
    JobRecord,
    NewJob,
    Options,
    OutputChunk,
    Progress,
    ScheduleInfo,
    StopNote,
    WorkerInfo,
)
from conveyor.core.lifecycle import Failed, Outcome, Succeeded
from conveyor.core.retry import Fixed
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Claimant, Lease, Report, Want

HOUR, DEPLOY_AGO, STEP = 3600.0, 22 * 60.0, 2.0
OLD, NEW = "b81d90a", "4f2c1e9"
TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/hooks.py", line 54, in deliver_webhook
    response = post_signed(endpoint, body)
  File "/srv/shop/hooks.py", line 88, in post_signed
    return client.post(url, content=body, timeout=10)
  File "/usr/lib/python3.13/site-packages/httpx/_client.py", line 1144, in post
    return self.request("POST", url, content=content)
httpx.ConnectTimeout: hooks.acme.example:443 did not answer within 10 s
"""
TIMEOUT = ErrorInfo("httpx.ConnectTimeout", "hooks.acme.example:443 did not answer", TRACEBACK)


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs of a queue: how many arrive in a second, and how long one takes, in seconds."""

    queue: str
    task: str
    rate: float
    takes: float
    capacity: int | None = None


KINDS = (
    Kind(queue="webhooks", task="deliver_webhook", rate=3.0, takes=1.2),
    Kind(queue="mail", task="send_mail", rate=2.2, takes=0.6),
    Kind(queue="images", task="make_thumbnail", rate=1.4, takes=1.5),
    Kind(queue="search", task="index_document", rate=0.8, takes=0.8),
    Kind(queue="billing", task="charge_card", rate=0.4, takes=2.0),
    Kind(queue="reports", task="render_report", rate=0.03, takes=90.0),
    Kind(queue="video", task="transcode", rate=0.004, takes=700.0),
    Kind(queue="imports", task="import_csv", rate=0.05, takes=90.0, capacity=40),
)
HOSTS = {"web-1": 3, "web-2": 3, "web-3": 3, "batch-1": 2}
WEB = ("webhooks", "mail", "images", "search", "billing")
BATCH = ("reports", "video", "imports")


class SimulatedClock:
    """A clock that is moved until the hour is over, and then goes by itself."""

    def __init__(self) -> None:
        self._now: float | None = time.time() - HOUR

    def now(self) -> float:
        """Return the time, in Unix seconds."""
        return time.time() if self._now is None else self._now

    def advance(self) -> bool:
        """Move on by a step; whether the hour is not over yet."""
        if self._now is None:
            return False
        self._now += STEP
        if self._now >= time.time():
            self._now = None
        return self._now is not None


class ShopWorker:
    """A worker that runs nothing: its jobs end when their time is over."""

    def __init__(self, store: MemoryStore, host: str, number: int) -> None:
        self._store = store
        self._slots = 8 if host.startswith("web") else 6
        self._queues = WEB if host.startswith("web") else BATCH
        self.held: dict[str, tuple[JobRecord, float]] = {}
        self.info = WorkerInfo(
            id=f"{host}-{2100 + 37 * number}",
            host=host,
            boot_id=host,
            pid=2100 + 37 * number,
            pid_started=1.0,
            started_at=store.now(),
            slots=self._slots,
            queues=self._queues,
            release=OLD,
            rss=260_000_000 + 9_000_000 * number,
        )

    def step(self, now: float, *, is_broken: bool, is_quiet: bool) -> None:
        """Settle what has ended, and claim as much as there is room for."""
        ended = [job for job, until in self.held.values() if until <= now]
        reports = [Report(job.id, job.lease, outcome(job, is_broken=is_broken)) for job in ended]
        self._store.settle(reports).result()
        for job in ended:
            del self.held[job.id]
        self.info = msgspec.structs.replace(
            self.info,
            running=len(self.held),
            finished=self.info.finished + len(ended),
            release=NEW if is_broken else OLD,
            quiet=is_quiet,
        )
        self._store.beat(self.info).result()
        room = self._slots - len(self.held)
        if room > 0 and not is_quiet:
            claimant = Claimant(self.info.id, 120.0)
            wants = [Want(queue, room) for queue in random.sample(self._queues, len(self._queues))]
            for job in self._store.claim(wants, claimant, limit=room).result().jobs:
                self.held[job.id] = job, now + takes(job, is_broken=is_broken)
        leases = [Lease(job.id, job.lease) for job, _ in self.held.values()]
        if leases:
            self._store.extend(leases, lease_for=120.0).result()


def takes(job: JobRecord, *, is_broken: bool) -> float:
    """Return how long a job takes: one that times out takes ten seconds."""
    usual = next(kind.takes for kind in KINDS if kind.queue == job.queue)
    if is_broken and job.queue == "webhooks" and b"acme" in job.args:
        return 10.2
    return usual * random.uniform(0.5, 1.5)


def outcome(job: JobRecord, *, is_broken: bool) -> Outcome:
    """Return how a job ends."""
    if is_broken and job.queue == "webhooks" and b"acme" in job.args:
        return Failed(TIMEOUT)
    if random.random() < 0.004:
        return Failed(ErrorInfo("ConnectionError", f"refused by 10.0.0.{random.randint(2, 90)}"))
    return Succeeded(b'"ok"')


class Shop:
    """The store with its producers and workers."""

    def __init__(self) -> None:
        random.seed(20)
        self._clock = SimulatedClock()
        self._begin = self._clock.now()
        self.store = MemoryStore(clock=self._clock)
        hosts = [host for host, number in HOSTS.items() for _ in range(number)]
        self._workers = [ShopWorker(self.store, host, at) for at, host in enumerate(hosts)]
        self._ids = (
            f"0198f2c4-{number >> 16 & 65535:04x}-7{number & 4095:03x}-9d1e-{number:012x}"
            for number in count(4096)
        )
        self._is_deployed = False
        self._due = {kind.queue: 0.0 for kind in KINDS}

    def replay(self) -> None:
        """Let the hour pass."""
        while self._clock.advance():
            self.step()

    def step(self) -> None:
        """Let everybody do what is due now."""
        now = self.store.now()
        is_broken = now > self._begin + HOUR - DEPLOY_AGO
        if is_broken and not self._is_deployed:
            self._is_deployed = True
            self.store.add_mark(NEW, who="ada").result()
        for kind in KINDS:
            rate = kind.rate * (1.25 if is_broken and kind.queue == "webhooks" else 1.0)
            self._due[kind.queue] += rate * STEP * random.uniform(0.8, 1.2)
            jobs = list(self._new_jobs(kind, int(self._due[kind.queue])))
            self._due[kind.queue] -= len(jobs)
            if jobs:
                self.store.insert(jobs, capacity=kind.capacity).result()
        self.store.stage(limit=1000).result()
        for worker in self._workers:
            worker.step(now, is_broken=is_broken, is_quiet=worker.info.id.endswith("2359"))

    def _new_jobs(self, kind: Kind, number: int) -> Iterator[NewJob]:
        for _ in range(number):
            tenant = random.choice(["acme", "acme", "northwind", "globex", "initech"])
            args = {"tenant": tenant, "order": random.randint(1000, 9999)}
            if kind.queue == "webhooks":
                args |= {"endpoint": f"https://hooks.{tenant}.example", "signature": "sha256=9f…"}
            options = Options(retries=3, backoff=Fixed(240.0), timeout=3600.0, grace=45.0)
            yield NewJob(
                id=next(self._ids),
                task=kind.task,
                queue=kind.queue,
                args=json.dumps(args).encode(),
                options=options,
            )

    def add_details(self) -> None:
        """Add what an operator has done, schedules, and output of what runs."""
        self.store.set_paused(
            "reports", paused=True, reason="the database is migrated", by="ada"
        ).result()
        now = self.store.now()
        for name, cron, after in (
            ("nightly-report", "0 3 * * 1-5", 9000.0),
            ("sync", "*/5 * * * *", 140.0),
        ):
            self.store.put_schedule(
                ScheduleInfo(
                    name=name,
                    cron=cron,
                    timezone="Europe/Berlin",
                    missed="once",
                    next_at=now + after,
                )
            ).result()
        for what, subject, reason, number in (
            ("pause queue", "reports", "the database is migrated", None),
            ("retry", "queue=billing states=discarded", "the bank is back", 86),
            ("quiet worker", "web-3-2359", "", None),
        ):
            self.store.note_action(
                [
                    Action(
                        who="ada",
                        where="ops-1",
                        what=what,
                        subject=subject,
                        reason=reason,
                        count=number,
                    )
                ]
            ).result()

    def stop_a_video(self) -> str:
        """Ask a running video to stop, which takes a while; return its id."""
        job = next(
            job
            for worker in self._workers
            for job, _ in worker.held.values()
            if job.queue == "video"
        )
        lease, now = Lease(job.id, job.lease), self.store.now()
        lines = [
            f"frame={40000 + 46 * n} fps=33 size={360 + n}MiB time=00:14:{n:02}" for n in range(50)
        ]
        chunks = [
            OutputChunk(
                job_id=job.id,
                lease=job.lease,
                offset=90 * n,
                stream="stderr",
                at=now - 50 + n,
                data=f"{line}\n".encode(),
            )
            for n, line in enumerate(lines)
        ]
        self.store.write_output(chunks).result()
        self.store.set_progress([(lease, Progress(61, 100, "frame 42,254"))]).result()
        self.store.cancel(job.id, reason="wrong preset").result()
        notes = [
            StopNote(now, "stop requested (cancel): wrong preset"),
            StopNote(now + 0.05, "SIGTERM to 4 processes"),
        ]
        self.store.set_stopping([(lease, notes)]).result()
        return job.id
