"""What stands between a worker and the code of one running job: the stop, the output, the word."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from ..current import CurrentJob
from ..job import JobRecord, Progress, Stream
from ..lifecycle import Failed, Snoozed, Succeeded
from ..task import Task

Why = Literal["cancel", "timeout", "shutdown", "lost"]


class Stop(msgspec.Struct, frozen=True):
    """A request to stop a running job, and why."""

    why: Why
    reason: str


class Stopped(msgspec.Struct, frozen=True):
    """The job's code has really ended because it was asked to. `notes` say what it took."""

    notes: tuple[str, ...] = ()


Ending = Succeeded | Failed | Snoozed | Stopped


class Sink(Protocol):
    """Takes what jobs write. May be called from any thread."""

    def write(self, job: JobRecord, stream: Stream, data: bytes) -> None:
        """Keep some bytes of a job's output."""
        ...

    def progress(self, job: JobRecord, progress: Progress) -> None:
        """Keep a job's newest word about itself."""
        ...


class Control:
    """One running job as its runner sees it. `stop` is called in the worker's event loop."""

    __slots__ = ("_event", "_on_stop", "job", "sink", "stop_request", "task")

    def __init__(self, job: JobRecord, task: Task, sink: Sink) -> None:
        self.job = job
        self.task = task
        self.sink = sink
        self.stop_request: Stop | None = None
        self._event: threading.Event | None = None
        self._on_stop: Callable[[Stop], None] | None = None

    def stop(self, request: Stop) -> None:
        """Ask the job to stop. The first request counts; later ones only repeat it."""
        if self.stop_request is None:
            self.stop_request = request
        if self._event is not None:
            self._event.set()
        if self._on_stop is not None:
            self._on_stop(self.stop_request)

    def on_stop(self, act: Callable[[Stop], None]) -> None:
        """Say what to do when the stop is asked for; at once if it already was."""
        self._on_stop = act
        if self.stop_request is not None:
            act(self.stop_request)

    def current(self) -> CurrentJob:
        """Return what the job's own code sees of itself."""
        self._event = threading.Event()
        if self.stop_request is not None:
            self._event.set()
        return CurrentJob(self.job, self._say, self._event, self._write)

    def _say(self, progress: Progress) -> None:
        self.sink.progress(self.job, progress)

    def _write(self, stream: Stream, data: bytes) -> None:
        self.sink.write(self.job, stream, data)


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
