"""The workers of the drill: real `conveyor worker` processes with the user's application."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ..settings import PREFIX, SETTINGS
from .observations import ObservedWorker
from .probe_jobs import QUEUE, ProbeJobs
from .processes import find_marked_processes

MODULE = "conveyor_drill_app"
# More than the concurrent jobs of any scenario.
SLOTS = 8
LABEL = "drill"
# How many files a worker may still open for itself, as the store does, when no job can start.
SPARE_FILES = 2
# Settings of the user that would disturb the drill: it needs ended jobs to be kept.
RESET_SETTINGS = ("keep_completed", "keep_cancelled", "keep_discarded", "poll")
# How much of the end of stderr to show, in characters.
STDERR_TAIL = 1500

# An ordinary application for `conveyor worker`; the user can read it with --keep.
TEMPLATE = '''\
"""{what}, on a temporary store and with the drill's own jobs.

Written by `conveyor drill`.
"""

{imports}
from {jobs} import ProbeJobs

belt = {belt}
belt.divert({url!r})
ProbeJobs(belt)
'''


class WorkerProcess:
    """A worker process, as its parent sees it."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.pid = process.pid
        self.name = folder.name
        self.id = ""
        self.code: int | None = None
        self.ended_at: float | None = None
        self._process = process
        self._folder = folder

    def poll(self) -> None:
        """Record its exit, if it has exited."""
        if self.code is None:
            self.code = self._process.poll()
            self.ended_at = None if self.code is None else time.time()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has exited."""
        self._process.send_signal(number)

    def limit_file_size(self, size: int | None) -> None:
        """Limit the size of the files it writes, in bytes; None lifts the limit."""
        with suppress(ProcessLookupError):
            hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)[1]
            limit = hard if size is None else size
            resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (limit, hard))

    def limit_open_files(self, *, to_open: bool) -> None:
        """Limit its files to those that are open, and two more; or lift that limit."""
        with suppress(OSError):  # it has exited
            hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)[1]
            used = {int(name) for name in os.listdir(f"/proc/{self.pid}/fd")}
            free = (number for number in range(len(used) + 3) if number not in used)
            limit = [*free][SPARE_FILES] if to_open else hard
            resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (limit, hard))

    def leftover_processes(self) -> tuple[str, ...]:
        """Return the processes still alive that it has started, directly or not."""
        found = find_marked_processes(environment_mark(self._folder))
        return tuple(f"{pid}: {line}" for pid, line in found.items() if pid != self.pid)

    def kill(self) -> None:
        """Kill it, if it is still alive."""
        self._process.kill()
        self._process.wait()
        self.poll()

    def observed(self, leftover: Sequence[str] = ()) -> ObservedWorker:
        """Return all that was observed of it."""
        return ObservedWorker(
            name=self.name,
            id=self.id,
            ended_at=self.ended_at,
            code=self.code,
            leftover=tuple(leftover),
            stderr=self.stderr_tail(),
        )

    def stderr_tail(self) -> str:
        """Return the end of its stderr."""
        return (self._folder / "stderr").read_text(errors="replace")[-STDERR_TAIL:].strip()


def environment_mark(folder: Path) -> str:
    """Return the mark in the environment of all processes started in a folder."""
    return f"{folder}{os.sep}"  # the separator excludes folders that this name begins


WorkerStarter = Callable[[Path, Sequence[str]], WorkerProcess]


def file_store(folder: Path) -> str:
    """Return the address of the store in a scenario's folder.

    A drill kills processes and cuts no power, so nothing waits for the disk: on a slow one, what is
    promised within a second would seem to be broken.
    """
    return f"sqlite:///{folder / 'jobs.db'}?durability=normal"


def write_application(folder: Path, *, app: str | None, url: str) -> None:
    """Write the application for a worker into its folder."""
    folder.mkdir()
    if app is None:
        what, imports, belt = "No application", "from conveyor import Conveyor", "Conveyor()"
    else:
        what, belt = f"The application {app}", f"load_app({app!r})"
        imports = "from conveyor.cli.shared.application import load_app"
    text = TEMPLATE.format(
        what=what, imports=imports, jobs=ProbeJobs.__module__, belt=belt, url=url
    )
    (folder / f"{MODULE}.py").write_text(text)


def start_worker(
    folder: Path,
    options: Sequence[str],
    *,
    program: Sequence[str] = (sys.executable, "-m", "conveyor"),
    password: str = "",
) -> WorkerProcess:
    """Start `conveyor worker` on the application in `folder`, where its output goes too.

    `password` is the one of the database with the store.
    """
    command = [
        *program,
        "worker",
        f"{MODULE}:belt",
        *("--concurrency", str(SLOTS), "--queue", QUEUE, "--label", LABEL),
        # Not the user's own health file.
        *("--health-file", str(folder / "health")),
        *options,
    ]
    with open(folder / "stdout", "wb") as out, open(folder / "stderr", "wb") as err:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=_environment(folder) | ({"PGPASSWORD": password} if password else {}),
            start_new_session=True,
        )
    return WorkerProcess(process, folder)


def _environment(folder: Path) -> dict[str, str]:
    # These workers must not notify the service manager, whose service is the drill.
    given = {name: text for name, text in os.environ.items() if name != "NOTIFY_SOCKET"}
    path = os.pathsep.join(filter(None, [environment_mark(folder), os.environ.get("PYTHONPATH")]))
    ours = {f"{PREFIX}{name.upper()}": f"{SETTINGS[name].default}" for name in RESET_SETTINGS}
    return {**given, **ours, "PYTHONPATH": path}
