"""The workers of the drill: real ones, `conveyor worker`, with the user's application in them."""

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
from .observations import WorkerSeen
from .probe_jobs import QUEUE, Troupe
from .processes import marked

MODULE = "conveyor_rehearsal"
# More than any scene has jobs at once.
SLOTS = 8
LABEL = "drill"
# The user's own settings that would disturb the drill: how long ended jobs are kept, before all.
OURS = ("keep_completed", "keep_cancelled", "keep_discarded", "poll")
# What is shown of a worker's last words.
TAIL = 1500

# `conveyor worker` gets an ordinary application, which --keep lets the user read.
TEMPLATE = '''\
"""{what}, on a scratch store and with the drill's own jobs.

Written by `conveyor drill`.
"""

{imports}
from {jobs} import Troupe

belt = {belt}
belt.divert({url!r})
Troupe(belt)
'''


class WorkerProcess:
    """A worker's process as its parent sees it."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.pid = process.pid
        self.name = folder.name
        self.id = ""
        self.code: int | None = None
        self.ended_at: float | None = None
        self._process = process
        self._folder = folder

    def look(self) -> None:
        """Notice its end."""
        if self.code is None:
            self.code = self._process.poll()
            self.ended_at = None if self.code is None else time.time()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        self._process.send_signal(number)

    def limit_files(self, size: int | None) -> None:
        """Let no file of it grow beyond so many bytes; None: as far as it may at all."""
        with suppress(ProcessLookupError):
            hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)[1]
            limit = hard if size is None else size
            resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (limit, hard))

    def left_behind(self) -> tuple[str, ...]:
        """Return the processes it has started, at any remove, that still live."""
        found = marked(mark(self._folder))
        return tuple(f"{pid}: {called}" for pid, called in found.items() if pid != self.pid)

    def end(self) -> None:
        """Kill it, if it still lives."""
        self._process.kill()
        self._process.wait()
        self.look()

    def seen(self, left_behind: Sequence[str] = ()) -> WorkerSeen:
        """Return what was seen of it."""
        return WorkerSeen(
            name=self.name,
            id=self.id,
            ended_at=self.ended_at,
            code=self.code,
            left_behind=tuple(left_behind),
            said=self.said(),
        )

    def said(self) -> str:
        """Return the last it wrote to stderr."""
        return (self._folder / "stderr").read_text(errors="replace")[-TAIL:].strip()


def mark(folder: Path) -> str:
    """Return what stands in the environment of all that is started in a folder."""
    return f"{folder}{os.sep}"  # with the end of the name: it may be the beginning of another


Starter = Callable[[Path, Sequence[str]], WorkerProcess]


def describe(folder: Path, *, app: str | None, url: str) -> None:
    """Write the application that a worker is to load into its folder."""
    folder.mkdir()
    if app is None:
        what, imports, belt = "No application", "from conveyor import Conveyor", "Conveyor()"
    else:
        what, belt = f"The application {app}", f"load_app({app!r})"
        imports = "from conveyor.cli.shared.application import load_app"
    text = TEMPLATE.format(what=what, imports=imports, jobs=Troupe.__module__, belt=belt, url=url)
    (folder / f"{MODULE}.py").write_text(text)


def start_worker(
    folder: Path,
    options: Sequence[str],
    *,
    program: Sequence[str] = (sys.executable, "-m", "conveyor"),
) -> WorkerProcess:
    """Start `conveyor worker` on the application in `folder`, where its output goes too."""
    command = [
        *program,
        "worker",
        f"{MODULE}:belt",
        *("--url", str(folder.parent / "jobs.db"), "--concurrency", str(SLOTS)),
        *("--queue", QUEUE, "--label", LABEL),
        # A file of the user's that says how workers are is to hear nothing of these.
        *("--health-file", str(folder / "health")),
        *options,
    ]
    with open(folder / "stdout", "wb") as out, open(folder / "stderr", "wb") as err:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=_environment(folder),
            start_new_session=True,
        )
    return WorkerProcess(process, folder)


def _environment(folder: Path) -> dict[str, str]:
    # The service manager, if there is one, takes the drill for its service, and no worker of it.
    given = {name: text for name, text in os.environ.items() if name != "NOTIFY_SOCKET"}
    path = os.pathsep.join(filter(None, [mark(folder), os.environ.get("PYTHONPATH")]))
    ours = {f"{PREFIX}{name.upper()}": f"{SETTINGS[name].default}" for name in OURS}
    return {**given, **ours, "PYTHONPATH": path}
