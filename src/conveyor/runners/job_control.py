"""What stands between a worker and the code of one running job: the stop, the output, the word."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from ..core.job import JobRecord, Progress, StopNote, Stream
from ..core.lifecycle import Crashed, Failed, Snoozed, Succeeded
from ..core.task import Task
from ..errors import UsageError
from .workdir import Place

Why = Literal["cancel", "timeout", "shutdown", "fenced", "lost"]


class Stop(msgspec.Struct, frozen=True):
    """A request to stop a running job, and why.

    `grace` is how long it gets, in seconds, before it is killed; None is what the job itself says.
    """

    why: Why
    reason: str
    grace: float | None = None


class Stopped(msgspec.Struct, frozen=True, tag="stopped"):
    """The job's code has really ended because it was asked to. `notes` say what it took."""

    notes: tuple[str, ...] = ()


Ending = Succeeded | Failed | Crashed | Snoozed | Stopped


class Sink(Protocol):
    """Takes what jobs write. May be called from any thread."""

    def write(self, job: JobRecord, stream: Stream, data: bytes) -> None:
        """Keep some bytes of a job's output."""
        ...

    def progress(self, job: JobRecord, progress: Progress) -> None:
        """Keep a job's newest word about itself."""
        ...

    def stopping(self, job: JobRecord, notes: Sequence[StopNote]) -> None:
        """Keep what was done so far to stop a job."""
        ...


class Control:
    """One running job as its runner sees it. `stop` is called in the worker's event loop.

    `notes` are what was done to stop it so far; the sink hears of each at once. `on_begin` is
    called when the job's function begins in a child process, which may take a while to start.
    `ended` is set once its code has. `place` is its folder, `root` where its artifacts are looked
    for ("": nothing was laid out for it), `artifacts` are the paths of those it named, by name.
    `owner` is the other user that its folder was given to.
    """

    __slots__ = (
        "_event",
        "_on_stop",
        "artifacts",
        "ended",
        "job",
        "notes",
        "on_begin",
        "owner",
        "place",
        "root",
        "sink",
        "stop_request",
        "task",
    )

    def __init__(self, job: JobRecord, task: Task, sink: Sink) -> None:
        self.job = job
        self.task = task
        self.sink = sink
        self.stop_request: Stop | None = None
        self.ended = False
        self.notes: tuple[StopNote, ...] = ()
        self.on_begin: Callable[[], None] | None = None
        self.place: Place | None = None
        self.root = ""
        self.owner: int | None = None
        self.artifacts: dict[str, str] = {}
        self._event: threading.Event | None = None
        self._on_stop: Callable[[Stop], None] | None = None

    def stop(self, request: Stop) -> None:
        """Ask the job to stop. The first request counts; later ones can only shorten its grace.

        Only the loss of the lease overrides: then nobody wants to hear how the job ended.
        """
        first = self.stop_request
        if first is None:
            self.stop_request = request
        else:
            kept = request if request.why == "lost" else first
            grace = min(self._grace(first), self._grace(request))
            self.stop_request = msgspec.structs.replace(kept, grace=grace)
        if self._event is not None:
            self._event.set()
        if self._on_stop is not None:
            self._on_stop(self.stop_request)

    def on_stop(self, act: Callable[[Stop], None] | None) -> None:
        """Say what to do when the stop is asked for; at once if it already was."""
        self._on_stop = act
        if act is not None and self.stop_request is not None:
            act(self.stop_request)

    @property
    def stopping(self) -> bool:
        """Whether the job was asked to stop."""
        return self.stop_request is not None

    @property
    def abandoned(self) -> bool:
        """Whether nobody wants to hear any more how the job ends."""
        return self.stop_request is not None and self.stop_request.why == "lost"

    def begin(self) -> None:
        """Say that the job's own code begins now."""
        if self.on_begin is not None:
            self.on_begin()

    def wait_for_stop(self, seconds: float) -> bool:
        """Block until the job is asked to stop, at most `seconds`; say whether it was."""
        with _EVENTS:  # the event is only made for jobs that wait on it
            if self._event is None:
                self._event = threading.Event()
        return self.stopping or self._event.wait(seconds)

    def note(self, text: str) -> None:
        """Note a step of stopping the job, where others can read it at once."""
        self.notes = (*self.notes, StopNote(time.time(), text))
        self.sink.stopping(self.job, self.notes)

    def say(self, progress: Progress) -> None:
        """Pass on how far the job is."""
        self.sink.progress(self.job, progress)

    def write(self, stream: Stream, data: bytes) -> None:
        """Keep something the job wrote."""
        self.sink.write(self.job, stream, data)

    def folder(self) -> str:
        """Return the job's own folder, which the first call makes."""
        if self.place is None:
            raise UsageError(f"job {self.job.id} is run where it has no folder")
        return self.place.make()

    def keep(self, name: str, path: str) -> None:
        """Keep a file, as it is when the job's code has ended, under a name."""
        self.artifacts[name] = path

    def _grace(self, request: Stop) -> float:
        return self.job.options.grace if request.grace is None else request.grace


def job_environment(job: JobRecord) -> dict[str, str]:
    """Return what programs of a job find about it in their environment."""
    return {
        "CONVEYOR_JOB_ID": job.id,
        "CONVEYOR_ATTEMPT": str(job.attempt),
        "CONVEYOR_LEASE": str(job.lease),
    }


_EVENTS = threading.Lock()


class Runner(Protocol):
    """Runs jobs of one kind. Whatever the job's code does, an ending comes back."""

    async def run(self, control: Control) -> Ending:
        """Run one job to its end and say how it ended.

        Returns Stopped only when a stop was asked for and the code has really ended. Cancelling
        this coroutine is not how a job is stopped: `control.stop` is.
        """
        ...

    async def close(self) -> None:
        """Let go of threads and processes. No job is running any more."""
        ...
