"""The stage of one scene: a store and workers of its own, and eyes that look on from outside.

Whatever is known of jobs comes from the store, from the files they write and from /proc. Nothing
here asks a worker how it is doing.
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
from ..store.messages import Filter
from .observations import Account, Sighting
from .probe_jobs import CUE, FAILS, KINDS, QUEUE, Kind, Note, Troupe, read
from .processes import Program, kill_marked, lives, program, runs
from .workers import Starter, WorkerProcess, describe, mark

# How often it looks, in seconds: what is measured is that much too long at most.
LOOK = 0.02
# How long a job that is told to stop gets for it.
GRACE = 1.0


class HaltedError(Exception):
    """The drill was interrupted."""


class Stage:
    """Where one scene is played. `limit` is how long, in seconds, it may take in all."""

    def __init__(
        self, folder: Path, *, app: str | None, starter: Starter, limit: float, halt: Event
    ) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.workers: list[WorkerProcess] = []
        # How long the slowest start of a worker has taken: how slow this machine is, and how busy.
        self.start_up = 0.0
        self._app = app
        self._starter = starter
        self._halt = halt
        self.begun = time.time()
        self._deadline = time.monotonic() + limit
        self._url = str(folder / "jobs.db")
        self._belt = Conveyor(self._url)
        self.troupe = Troupe(self._belt)
        self._watches: dict[str, _Watch] = {}
        self.jobs: dict[str, Job[Any]] = {}

    # -- what is done --------------------------------------------------------------------------

    def start(self, name: str, *, drain: float = 5.0, lease: float = 30.0) -> WorkerProcess:
        """Start a worker and wait until the store has heard of it."""
        folder, begun = self.folder / name, time.monotonic()
        describe(folder, app=self._app, url=self._url)
        worker = self._starter(folder, ("--drain", f"{drain}", "--lease", f"{lease}"))
        self.workers.append(worker)
        self.until(lambda: worker.code is not None or self._has_joined(worker))
        self.start_up = max(self.start_up, time.monotonic() - begun)
        return worker

    def put(
        self, kinds: Iterable[Kind] = KINDS, *, fails: bool = False, **options: Any
    ) -> list[str]:
        """Enqueue a job of each kind; returns their ids."""
        ids: list[str] = []
        for kind in kinds:
            notes = self.folder / f"{len(self._watches)}-{kind.replace(' ', '-')}"
            if fails:
                Path(f"{notes}{FAILS}").touch()
            job = self.troupe.enqueue(kind, notes, **{"grace": GRACE, **options})
            self.watch(job, kind, notes)
            ids.append(job.id)
        return ids

    def watch(self, job: Job[Any], kind: Kind, notes: Path) -> None:
        """Keep an eye on a job."""
        self.jobs[job.id] = job
        self._watches[job.id] = _Watch(kind, notes)

    def cue(self, ids: Iterable[str]) -> float:
        """Have these jobs end; returns when that was."""
        at = time.time()
        for job_id in ids:
            Path(f"{self._watches[job_id].notes}{CUE}").touch()
        return at

    def signal(self, worker: WorkerProcess, number: signal.Signals) -> float:
        """Send a worker a signal; returns when that was."""
        at = time.time()
        worker.send(number)
        return at

    def fill_disk(self, worker: WorkerProcess, *, room: int) -> None:
        """Let the worker's files grow by so many bytes and no more."""
        sizes = [path.stat().st_size for path in self.folder.glob("jobs.db*") if path.is_file()]
        worker.limit_files(max(sizes) + room)

    def make_room(self, worker: WorkerProcess) -> None:
        """Take the limit away again."""
        worker.limit_files(None)

    def close(self) -> None:
        """End all that was started here, whatever state it is in."""
        for worker in self.workers:
            worker.send(signal.SIGCONT)
            worker.send(signal.SIGTERM)
        with suppress(HaltedError):
            self._wait(lambda: all(each.code is not None for each in self.workers), 2.0)
        for worker in self.workers:
            worker.end()
        kill_marked(mark(self.folder))
        self._belt.close()

    # -- what is seen --------------------------------------------------------------------------

    def until(self, done: Callable[[], object], within: float | None = None) -> bool:
        """Look on until it is so; says whether it was, within `within` seconds and the scene's."""
        left = self._deadline - time.monotonic()
        return self._wait(done, left if within is None else min(left, within))

    def stay(self, seconds: float) -> None:
        """Look on for a while."""
        self.until(lambda: False, seconds)

    def kind(self, job_id: str) -> Kind:
        """Return the kind of a watched job."""
        return self._watches[job_id].kind

    def have_begun(self, ids: Sequence[str]) -> bool:
        """Whether the code of all of them runs."""
        return all(self._watches[job_id].has_begun for job_id in ids)

    def have_ended(self, ids: Sequence[str]) -> bool:
        """Whether all of them are final."""
        return all(self._watches[job_id].is_final for job_id in ids)

    def is_final(self, job_id: str) -> bool:
        """Whether a job is final by the store, be it watched or not."""
        return self.record(job_id).is_final

    def record(self, job_id: str) -> JobRecord:
        """Return a job as the store knows it now."""
        return self._belt.store.get(job_id).result()

    def accounts(self, ids: Iterable[str]) -> list[Account]:
        """Return what was seen of these jobs."""
        self._look()
        return [
            self._watches[job_id].account(
                self.record(job_id), self._belt.store.history(job_id).result()
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
            if self._halt.wait(LOOK):
                raise HaltedError

    def _look(self) -> None:
        for worker in self.workers:
            worker.look()
        found = self._belt.store.find(Filter(queue=QUEUE), limit=1000).result()
        now = time.time()
        for record in found:
            watch = self._watches.get(record.id)
            if watch is not None:
                watch.see(record, now)

    def _has_joined(self, worker: WorkerProcess) -> bool:
        for each in self._belt.store.workers().result():
            if each.pid == worker.pid:
                worker.id = each.id
                return True
        return False


class _Watch:
    """One job under observation."""

    def __init__(self, kind: Kind, notes: Path) -> None:
        self.kind: Kind = kind
        self.notes = notes
        self.is_final = False
        self._read: tuple[Note, ...] = ()
        self._sightings: list[Sighting] = []
        self._programs: dict[int, Program] = {}
        self._gone: dict[int, float] = {}

    @property
    def has_begun(self) -> bool:
        """Whether its code, all three processes of a command, has begun."""
        began = sum(note.what == "began" for note in self._read)
        return began >= (3 if self.kind == "command" else 1)

    def see(self, record: JobRecord, now: float) -> None:
        """Take in how the store says it stands, and look how that is."""
        # The notes after the store: what is noted before a job ends is read, then.
        self._read = read(self.notes)
        for note in self._read:
            if note.pid not in self._programs:
                self._programs[note.pid] = program(note.pid)
        for lease in {note.lease for note in self._read}.difference(self._gone):
            if not self._live(lease, lives):
                self._gone[lease] = now
        self.is_final = record.is_final
        last = self._sightings[-1] if self._sightings else None
        if last is not None and (last.state, last.lease) == (record.state, record.lease):
            return
        over = record.lease - (record.state is State.RUNNING)
        live = {pid for lease in range(1, over + 1) for pid in self._live(lease, runs)}
        self._sightings.append(Sighting(now, record.state, record.lease, tuple(sorted(live))))

    def account(self, record: JobRecord, history: Iterable[Any]) -> Account:
        """Return all of it."""
        return Account(
            kind=self.kind,
            record=record,
            sightings=tuple(self._sightings),
            notes=self._read,
            gone=dict(self._gone),
            history=tuple(history),
        )

    def _live(self, lease: int, so: Callable[[Program], bool]) -> set[int]:
        began = {note.pid for note in self._read if note.lease == lease and note.what == "began"}
        ended = {note.pid for note in self._read if note.lease == lease and note.what == "ended"}
        return {pid for pid in began - ended if so(self._programs[pid])}
