"""The harness of one scenario: a store and workers of its own, and observation from outside.

What is known of jobs comes from the store, from the files they write and from /proc. No worker is
asked for its own state.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

from ..client.app import Conveyor
from ..client.job_handle import Job
from ..core.job import JobRecord, State
from ..core.pending import run_sync
from ..store.call_style import BlockingCalls
from ..store.page_walk import read_workers
from .observations import Observation, ObservedJob
from .probe_jobs import FAILS, FINISH, KINDS, QUEUE, Kind, ProbeEvent, ProbeJobs, read_events
from .processes import (
    ProcessSnapshot,
    is_alive,
    is_runnable,
    kill_marked_processes,
    snapshot_process,
)
from .workers import (
    WorkerProcess,
    WorkerStarter,
    environment_mark,
    write_application,
)

# How often to observe, in seconds. Measured times are too long by at most this.
POLL = 0.02
# The grace period of the drill's jobs, in seconds.
GRACE = 1.0


class DrillInterruptedError(Exception):
    """The drill was interrupted."""


class Harness:
    """Runs one scenario in `folder`, on the store at `url`.

    `limit` is its maximum duration in all, in seconds.
    """

    def __init__(
        self,
        folder: Path,
        *,
        url: str,
        password: str = "",
        app: str | None,
        starter: WorkerStarter,
        limit: float,
        halt: Event,
    ) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.workers: list[WorkerProcess] = []
        self.jobs: dict[str, Job[Any]] = {}
        # The slowest start of a worker so far: how slow this machine is, and how busy.
        self.startup_seconds = 0.0
        self.started_at = time.time()
        self._app = app
        self._starter = starter
        self._halt = halt
        self._deadline = time.monotonic() + limit
        self._url = url
        self._belt = Conveyor()
        self._belt.divert(url, token=password or None)  # nothing overrides it
        self.probes = ProbeJobs(self._belt)
        self._observers: dict[str, _JobObserver] = {}

    # -- actions -------------------------------------------------------------------------------

    def start_worker(self, name: str, *, drain: float = 5.0, lease: float = 30.0) -> WorkerProcess:
        """Start a worker and wait until it is known to the store."""
        folder, started = self.folder / name, time.monotonic()
        write_application(folder, app=self._app, url=self._url)
        options = "--url", self._url, "--drain", f"{drain}", "--lease", f"{lease}"
        worker = self._starter(folder, options)
        self.workers.append(worker)
        self.wait_until(lambda: worker.code is not None or self._is_registered(worker))
        self.startup_seconds = max(self.startup_seconds, time.monotonic() - started)
        return worker

    def enqueue_probes(
        self, kinds: Iterable[Kind] = KINDS, *, fails: bool = False, **options: Any
    ) -> list[str]:
        """Enqueue a job of each kind; return their ids."""
        ids: list[str] = []
        for kind in kinds:
            events = self.folder / f"{len(self._observers)}-{kind.replace(' ', '-')}"
            if fails:
                Path(f"{events}{FAILS}").touch()
            job = self.probes.enqueue(kind, events, **{"grace": GRACE, **options})
            self.observe(job, kind, events)
            ids.append(job.id)
        return ids

    def observe(self, job: Job[Any], kind: Kind, events: Path) -> None:
        """Observe a job from now on."""
        self.jobs[job.id] = job
        self._observers[job.id] = _JobObserver(kind, events)

    def let_finish(self, ids: Iterable[str]) -> float:
        """Let these jobs end; return the time."""
        at = time.time()
        for job_id in ids:
            Path(f"{self._observers[job_id].events_path}{FINISH}").touch()
        return at

    def send_signal(self, worker: WorkerProcess, number: signal.Signals) -> float:
        """Send a signal to a worker; return the time."""
        at = time.time()
        worker.send_signal(number)
        return at

    def limit_disk(self, worker: WorkerProcess, *, room: int) -> None:
        """Let the files of the worker grow by at most `room` bytes."""
        sizes = [path.stat().st_size for path in self.folder.glob("jobs.db*") if path.is_file()]
        worker.limit_file_size(max(sizes) + room)

    def lift_disk_limit(self, worker: WorkerProcess) -> None:
        """Remove the limit of `limit_disk`."""
        worker.limit_file_size(None)

    def close(self) -> None:
        """Kill everything that was started here, whatever its state."""
        for worker in self.workers:
            worker.send_signal(signal.SIGCONT)
            worker.send_signal(signal.SIGTERM)
        with suppress(DrillInterruptedError):
            self._wait(lambda: all(each.code is not None for each in self.workers), 2.0)
        for worker in self.workers:
            worker.kill()
        kill_marked_processes(environment_mark(self.folder))
        self._belt.close()

    # -- observation ---------------------------------------------------------------------------

    def wait_until(self, done: Callable[[], object], within: float | None = None) -> bool:
        """Observe until `done()`; return False if `within` or the scenario's limit ended first."""
        left = self._deadline - time.monotonic()
        return self._wait(done, left if within is None else min(left, within))

    def observe_for(self, seconds: float) -> None:
        """Observe for some time."""
        self.wait_until(lambda: False, seconds)

    def kind_of(self, job_id: str) -> Kind:
        """Return the kind of an observed job."""
        return self._observers[job_id].kind

    def sickness_of(self, worker: WorkerProcess) -> dict[str, str]:
        """Return which kinds of job a worker says that its machine cannot start, and why."""
        for each in run_sync(read_workers(BlockingCalls(), self._belt.store)):
            if each.id == worker.id:
                return each.sick
        return {}

    def have_begun(self, ids: Sequence[str]) -> bool:
        """Whether the code of all of them is running."""
        return all(self._observers[job_id].has_begun for job_id in ids)

    def have_ended(self, ids: Sequence[str]) -> bool:
        """Whether all of them are final."""
        return all(self._observers[job_id].is_final for job_id in ids)

    def is_final(self, job_id: str) -> bool:
        """Whether any job, observed or not, is final in the store."""
        return self.get_record(job_id).is_final

    def get_record(self, job_id: str) -> JobRecord:
        """Return the current record of a job in the store."""
        return self._belt.store.get(job_id).result()

    def lease_end(self, job_id: str) -> float:
        """Return when a job's lease ends, by this machine's clock."""
        store = self._belt.store
        until = self.get_record(job_id).lease_until
        return time.time() + (until - store.now()) if until else 0.0

    def observed_jobs(self, ids: Iterable[str]) -> list[ObservedJob]:
        """Return all observations of these jobs."""
        self._look()
        return [
            self._observers[job_id].observed(
                self.get_record(job_id), self._belt.store.history(job_id).result()
            )
            for job_id in ids
        ]

    def _wait(self, done: Callable[[], object], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while True:
            self._look()
            if done():
                return True
            if time.monotonic() >= deadline:
                return False
            if self._halt.wait(POLL):
                raise DrillInterruptedError

    def _look(self) -> None:
        for worker in self.workers:
            worker.poll()
        now = time.time()
        for record in self._belt.jobs(queue=QUEUE, limit=1000):
            observer = self._observers.get(record.id)
            if observer is not None:
                observer.update(record, now)

    def _is_registered(self, worker: WorkerProcess) -> bool:
        for each in run_sync(read_workers(BlockingCalls(), self._belt.store)):
            if each.pid == worker.pid:
                worker.id = each.id
                return True
        return False


class _JobObserver:
    """Collects the observations of one job."""

    def __init__(self, kind: Kind, events_path: Path) -> None:
        self.kind: Kind = kind
        self.events_path = events_path
        self.is_final = False
        self._events: tuple[ProbeEvent, ...] = ()
        self._observations: list[Observation] = []
        self._processes: dict[int, ProcessSnapshot] = {}
        self._ended_at: dict[int, float] = {}

    @property
    def has_begun(self) -> bool:
        """Whether its code has begun, in all three processes if it is a command."""
        began = sum(event.what == "began" for event in self._events)
        return began >= (3 if self.kind == "command" else 1)

    def update(self, record: JobRecord, now: float) -> None:
        """Read the record from the store, and compare it with the job's events and processes."""
        # Events are read after the record: what a job wrote before it ended is then included.
        self._events = read_events(self.events_path)
        for event in self._events:
            if event.pid not in self._processes:
                self._processes[event.pid] = snapshot_process(event.pid)
        for lease in {event.lease for event in self._events}.difference(self._ended_at):
            if not self._unfinished_pids(lease, is_alive):
                self._ended_at[lease] = now
        self.is_final = record.is_final
        last = self._observations[-1] if self._observations else None
        if last is not None and (last.state, last.lease) == (record.state, record.lease):
            return
        over = record.lease - (record.state is State.RUNNING)
        live = {
            pid for lease in range(1, over + 1) for pid in self._unfinished_pids(lease, is_runnable)
        }
        self._observations.append(Observation(now, record.state, record.lease, tuple(sorted(live))))

    def observed(self, record: JobRecord, history: Iterable[Any]) -> ObservedJob:
        """Return everything that was observed."""
        return ObservedJob(
            kind=self.kind,
            record=record,
            observations=tuple(self._observations),
            events=self._events,
            ended_at=dict(self._ended_at),
            history=tuple(history),
        )

    def _unfinished_pids(self, lease: int, accept: Callable[[ProcessSnapshot], bool]) -> set[int]:
        run = [event for event in self._events if event.lease == lease]
        began = {event.pid for event in run if event.what == "began"}
        ended = {event.pid for event in run if event.what == "ended"}
        return {pid for pid in began - ended if accept(self._processes[pid])}
