"""Workers that break promises, for the controls: `python bad_workers.py HOW worker MODULE:belt`.

deaf: hears no SIGTERM. forgetful: claims for an hour, runs, and never says a word of it. hasty:
says that a job has stopped when it was asked to stop, and not when its code has.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import msgspec

from conveyor import Conveyor
from conveyor.__main__ import main
from conveyor.cli.shared.shutdown import Shutdown
from conveyor.core.command import Command
from conveyor.core.job import COMMAND_TASK, JobRecord, Progress, Stream, WorkerInfo
from conveyor.core.job_context import CURRENT, CurrentJob
from conveyor.core.lifecycle import Cancelled, Interrupted, Succeeded
from conveyor.drill.probe_jobs import QUEUE
from conveyor.store.messages import Claimant, Lease, Report, Want

SLOTS = 8


class Link:
    """A link to the worker that never stops the job."""

    stopping = False

    def __init__(self, job: JobRecord) -> None:
        self.job = job

    def wait_for_stop(self, seconds: float) -> bool:
        time.sleep(seconds)
        return False

    def report_progress(self, progress: Progress) -> None: ...

    def write(self, stream: Stream, data: bytes) -> None: ...


class BadWorker:
    """A worker that neither releases nor stops anything."""

    def __init__(self, belt: Conveyor, *, hasty: bool) -> None:
        self.belt = belt
        self.hasty = hasty
        self.id = f"bad-{os.getpid()}"
        self.claimant = Claimant(
            self.id, 30.0 if hasty else 3600.0, frozenset({"drill", "commands"})
        )
        self.running: dict[str, JobRecord] = {}
        self.told = threading.Event()

    def serve(self) -> None:
        store = self.belt.store
        # From another machine, as it says: nobody may take it for dead.
        store.beat(
            WorkerInfo(
                id=self.id,
                host="elsewhere",
                boot_id="elsewhere",
                pid=os.getpid(),
                pid_started=0.0,
                started_at=store.now(),
                slots=SLOTS,
                queues=(QUEUE,),
            )
        ).result(10)
        while not self.told.wait(0.02):
            for job in (
                store.claim([Want(QUEUE, SLOTS)], self.claimant, limit=SLOTS).result(10).jobs
            ):
                self.running[job.id] = job
                threading.Thread(target=self.run, args=(job,), daemon=True).start()
            if self.hasty:
                self.obey()
        if self.hasty:
            self.report([Report(job.id, job.lease, Interrupted()) for job in self.running.values()])
            time.sleep(3)
        os._exit(75 if self.hasty else 0)

    def run(self, job: JobRecord) -> None:
        try:
            self.call(job)
        except Exception:  # noqa: BLE001 - it is a bad worker
            return
        if self.hasty and self.running.pop(job.id, None) is not None:
            self.report([Report(job.id, job.lease, Succeeded(b"%d" % job.lease))])

    def call(self, job: JobRecord) -> None:
        if job.task == COMMAND_TASK:
            argv = msgspec.json.decode(job.args, type=Command).argv
            subprocess.run(argv, env={**os.environ, "CONVEYOR_LEASE": str(job.lease)}, check=True)
            return
        CURRENT.set(CurrentJob(Link(job)))
        task = self.belt.tasks[job.task]
        args, kwargs = task.args.decode(job.args)
        value = task.function(*args, **kwargs)
        if hasattr(value, "__await__"):
            asyncio = importlib.import_module("asyncio")
            asyncio.run(value)

    def obey(self) -> None:
        held = list(self.running.values())
        leases = [Lease(job.id, job.lease) for job in held]
        renewals = self.belt.store.extend(leases, lease_for=30.0).result(10) if leases else []
        for job, renewal in zip(held, renewals, strict=True):
            if renewal.verdict == "cancel" and self.running.pop(job.id, None) is not None:
                self.report([Report(job.id, job.lease, Cancelled("it surely stops soon"))])

    def report(self, reports: list[Report]) -> None:
        self.belt.store.settle(reports).result(10)


def play(how: str) -> None:
    """Be that worker."""
    if how == "deaf":
        Shutdown.handle_signal = lambda *_: None  # type: ignore[method-assign]
        main()
    belt: Any = importlib.import_module("conveyor_drill_app").belt
    worker = BadWorker(belt, hasty=how == "hasty")
    signal.signal(signal.SIGTERM, lambda *_: worker.told.set())
    worker.serve()


if __name__ == "__main__":
    play(sys.argv.pop(1))
