"""What the tests of the dashboard look at: `conveyor run` with jobs in every state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.request import Request, urlopen

from conveyor.core.job import JobRecord, NewJob, Options, State
from conveyor.store.messages import Accepted
from conveyor.store.open import open_store
from conveyor.store.protocol import Store

PATIENCE = 60.0
HERE = Path(__file__).parent
HOSTILE_TASK, HOSTILE_QUEUE = "<img src=x onerror=alert(1)>", "<b>hostile</b>"


class World:
    """A store, and the process that works on it and serves its dashboard."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = folder / "jobs.db"
        self.store: Store = open_store(str(self.db))
        self._number = 0
        self._log = folder / "run.log"
        self._process = self._start("0")
        self.url = self._said("dashboard: ")
        self.worker = self._said("worker ").removesuffix(":")

    def _start(self, port: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            words = f"run shop_app:belt --dashboard {port} -c 8 -q mail -q video -q {HOSTILE_QUEUE}"
            return subprocess.Popen(
                [sys.executable, "-m", "conveyor", *words.split(), "--url", str(self.db)],
                cwd=HERE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"CONVEYOR_LOG_LEVEL": "ERROR"},
            )

    def _said(self, begin: str) -> str:
        def found() -> str:
            assert self._process.poll() is None, f"it ended: {self._log.read_text()}"
            lines = self._log.read_text().splitlines()
            return next((line for line in reversed(lines) if line.startswith(begin)), "")

        until(found)
        return found().removeprefix(begin).split()[0].removesuffix(",")

    def restart(self) -> None:
        """Stop the process, and start another on the same port."""
        self.stop()
        self.start_again()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)

    def start_again(self) -> None:
        self._log.write_text("")
        self._process = self._start(self.url.rpartition(":")[2])
        self._said("dashboard: ")
        self.worker = self._said("worker ").removesuffix(":")

    def close(self) -> None:
        self.go()
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self.store.close()

    def go(self) -> None:
        """End the jobs that wait for a file."""
        (self.folder / "go").touch()

    @contextmanager
    def another_worker(self) -> Iterator[tuple[str, subprocess.Popen[str]]]:
        """Start a worker beside it, for a queue of its own; its name and process."""
        words = ["worker", "shop_app:belt", "-q", "beside", "--url", str(self.db)]
        with subprocess.Popen(
            [sys.executable, "-m", "conveyor", *words], cwd=HERE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            yield process.stderr.readline().split()[1].removesuffix(":"), process
            process.kill()

    def new_id(self) -> str:
        self._number += 1
        return f"01890000-0000-7000-8000-{self._number:012d}"

    def enqueue(self, task: str, args: str = "{}", queue: str = "mail", **more: Any) -> str:
        """Enqueue a job and return its id."""
        job_id, capacity = self.new_id(), more.pop("capacity", None)
        options = Options(**more.pop("options", {}))
        job = NewJob(id=job_id, task=task, queue=queue, args=args.encode(), options=options, **more)
        accepted = self.store.insert([job], capacity=capacity).result()
        assert isinstance(accepted, Accepted)
        return job_id

    def act(self, method: str, path: str, body: Any = None) -> Any:
        """Make a call of the API."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = Request(f"{self.url}/api/v1/{path}", data, headers, method=method)
        with urlopen(request, timeout=PATIENCE) as response:
            text = response.read()
        return json.loads(text) if text else None

    def mail(self, *, fails: bool = False, queue: str = "mail", **more: Any) -> str:
        """Enqueue a mail."""
        args = {"to": "ada", "fails": fails, "api_token": "secret-token"}
        return self.enqueue("send_mail", json.dumps(args), queue, **more)

    def video(self, task: str = "transcode", **options: Any) -> str:
        """Enqueue a job that runs until `go`, and wait until its code runs."""
        args = json.dumps({"go": str(self.folder / "go")})
        job_id = self.enqueue(task, args, "video", options=options)
        until((self.folder / f"go-{job_id}").exists)
        return job_id

    def job(self, job_id: str) -> JobRecord:
        return self.store.get(job_id).result()

    def wait_for(self, job_id: str, *states: State) -> JobRecord:
        """Wait until a job is in one of the states; for any final one by default."""
        until(lambda: self.job(job_id).state in states if states else self.job(job_id).is_final)
        return self.job(job_id)


def until(done: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until something outside this process is so."""
    deadline = monotonic() + seconds
    while not done():
        assert monotonic() < deadline, "it did not happen in time"
        sleep(0.01)
