"""Real workers of the recording jobs: started, made quiet, stopped, and killed at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import recording_jobs

from conveyor.core.job import WorkerInfo

Until = Callable[..., None]


class Served:
    """A belt in a folder, or on PostgreSQL at `url`, and the workers that serve it.

    What the jobs record is in the folder.
    """

    def __init__(self, folder: Path, until: Until, url: str = "") -> None:
        self.folder = folder
        self.place = url or folder / "jobs.db"
        self.belt = recording_jobs.declared(self.place)
        self._until = until
        self._started: list[subprocess.Popen[bytes]] = []
        self._said: list[IO[bytes]] = []

    def worker(self, *options: str) -> subprocess.Popen[bytes]:
        """Start one and wait until it is known to the store."""
        argv = [sys.executable, "-m", "conveyor", "worker", "recording_jobs:belt", *options]
        if self.place != self.folder / "jobs.db":
            argv += ["--url", str(self.place)]
        env = os.environ | {"PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
        said = (self.folder / f"worker-{len(self._started)}").open("wb")
        started = subprocess.Popen(argv, cwd=self.folder, env=env, stderr=said)
        self._started.append(started)
        self._said.append(said)
        self._until(lambda: self.info(started) is not None)
        return started

    def info(self, worker: subprocess.Popen[bytes]) -> WorkerInfo | None:
        """Return what the store knows of a worker."""
        known = self.belt.store.workers().result(10)
        return next((each for each in known if each.pid == worker.pid), None)

    def be_quiet(self, worker: subprocess.Popen[bytes]) -> None:
        """Have it take no jobs, and wait until that is so."""

        def is_quiet() -> bool:
            info = self.info(worker)
            return info is not None and info.quiet

        worker.send_signal(signal.SIGTSTP)
        self._until(is_quiet)

    def stop(self, worker: subprocess.Popen[bytes]) -> float:
        """Tell it to stop; return when that was."""
        at = time.time()
        worker.terminate()
        return at

    def close(self) -> None:
        for each in self._started:
            each.kill()
            each.wait()
        for said in self._said:
            said.close()
        self.belt.close()


@contextmanager
def served(folder: Path, until: Until, url: str = "") -> Iterator[Served]:
    """Have workers, and end them with the test, whatever comes of it."""
    workers = Served(folder, until, url)
    try:
        yield workers
    finally:
        workers.close()
