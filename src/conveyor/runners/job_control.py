"""Connects a worker and the code of one running job: stop requests, output, progress, files."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from typing import Any, Literal, Protocol

import msgspec

from ..core.error_info import error_info
from ..core.files import FILES_LIMIT
from ..core.job import JobRecord, Progress, StopNote, Stream
from ..core.job_context import Settable
from ..core.lifecycle import Crashed, Failed, Snoozed, Succeeded, Unsupported
from ..core.stack import Frame
from ..core.task import Task
from ..core.trace_context import TraceContext, read_trace
from ..errors import UsageError
from .caller_completion import CallerCompletions, complete_within, encode_result
from .machine_fault import MachineFault
from .workdir import Workdir, WorkdirRoot

StopCause = Literal["cancel", "timeout", "shutdown", "fenced", "lost"]


class StopRequest(msgspec.Struct, frozen=True):
    """A request to stop a running job, and why.

    `grace` is the time in seconds before it is killed; None means the job's own grace.
    """

    cause: StopCause
    reason: str
    grace: float | None = None


class Stopped(msgspec.Struct, frozen=True, tag="stopped"):
    """The job's code has ended because a stop was requested. `notes` are the steps that it took."""

    notes: tuple[str, ...] = ()


RunResult = Succeeded | Failed | Crashed | Snoozed | Unsupported | Stopped | MachineFault


class OutputSink(Protocol):
    """Receives what jobs write. Any thread may call it."""

    def write(self, job: JobRecord, stream: Stream, data: bytes) -> None:
        """Append to a job's output."""
        ...

    def set_progress(self, job: JobRecord, progress: Progress) -> None:
        """Replace a job's progress."""
        ...

    def set_stop_notes(self, job: JobRecord, notes: Sequence[StopNote]) -> None:
        """Replace the steps taken so far to stop a job."""
        ...


class JobControl(msgspec.Struct, eq=False):
    """One running job as its runner sees it. `stop` is called in the worker's event loop.

    `notes` are the steps taken so far to stop it; the sink gets each at once. `on_begin` is called
    when the job's function starts in a child process, which may take a while to start itself.
    `ended` is set once its code has ended; `exception` is what it raised, if it ran in this
    process. `workdir_root` has the worker's workdirs; the job's own one is `workdir`, once it is
    needed. `artifact_root` is the directory to search for artifacts, "" if the job has neither
    inputs nor artifact patterns. `artifacts` maps the names of the artifacts that it named to their
    paths. `workdir_owner` is the other user, if any, to whom its workdir was given. `failure` is
    how the job ends whatever its function returns. `slot` is the asyncio task that runs the code of
    a coroutine job, and `code` is its coroutine while it is suspended. `thread` is the thread of a
    thread job, `child_pid` the process of a process job; `request_frames` has that process send the
    frames of its code to the function that is passed, once, or never. `span` is the span of the
    attempt, if the worker traces, and `variables` are the context variables for the code of a
    thread. `completing`: a transaction of the application may complete it; `completed`: it is known
    that one did.
    """

    # Hot path: one is made for each job, so it is a struct, which sets its defaults in C.
    job: JobRecord
    task: Task
    sink: OutputSink
    slot: asyncio.Task[Any] | None = None
    completions: CallerCompletions | None = None
    stop_request: StopRequest | None = None
    ended: bool = False
    exception: BaseException | None = None
    failure: Failed | None = None
    waits: dict[Settable, str] = {}
    notes: tuple[StopNote, ...] = ()
    on_begin: Callable[[], None] | None = None
    workdir_root: WorkdirRoot | None = None
    workdir: Workdir | None = None
    artifact_root: str = ""
    workdir_owner: int | None = None
    artifacts: dict[str, str] = {}
    completing: bool = False
    completed: bool = False
    code: Coroutine[Any, Any, Any] | None = None
    thread: int = 0
    child_pid: int = 0
    request_frames: Callable[[Callable[[Sequence[Frame]], None]], None] | None = None
    span: TraceContext | None = None
    variables: Context | None = None
    _event: threading.Event | None = None
    _on_stop: Callable[[StopRequest], None] | None = None

    def stop(self, request: StopRequest) -> None:
        """Ask the job to stop. The first request counts; later ones can only shorten its grace.

        Only "lost" overrides the cause: without its lease, the job's outcome is discarded.
        """
        first = self.stop_request
        if first is None:
            self.stop_request = request
        else:
            kept = request if request.cause == "lost" else first
            grace = min(self._grace(first), self._grace(request))
            self.stop_request = msgspec.structs.replace(kept, grace=grace)
        if self._event is not None:
            self._event.set()
        for event in tuple(self.waits):
            event.set()
        if self._on_stop is not None:
            self._on_stop(self.stop_request)

    def fail(self, error: BaseException) -> None:
        """Fail the job because of what other code of it raised: a task or a callback of its own."""
        if self.failure is None and not self.ended:
            self.exception, self.failure = (
                error,
                Failed(error_info(error, self.job.options.retry_on)),
            )
            if self._on_stop is not None:
                self._on_stop(StopRequest("cancel", f"{type(error).__name__} in a task of it"))

    def on_stop(self, act: Callable[[StopRequest], None] | None) -> None:
        """Set the function to call at a stop request; it is called now if there was one."""
        self._on_stop = act
        if act is not None and self.stop_request is not None:
            act(self.stop_request)

    @property
    def trace(self) -> TraceContext | None:
        """The trace that its code is a part of: the attempt's span, or else what enqueued it."""
        return self.span or self.job.options.trace

    @property
    def stopping(self) -> bool:
        """Whether the job was asked to stop."""
        return self.stop_request is not None

    @property
    def abandoned(self) -> bool:
        """Whether the lease is lost, so that the job's outcome will be discarded."""
        return self.stop_request is not None and self.stop_request.cause == "lost"

    def begin(self) -> None:
        """Report that the job's own code starts now."""
        if self.on_begin is not None:
            self.on_begin()

    def wait_for_stop(self, seconds: float) -> bool:
        """Block until the job is asked to stop, at most `seconds`; return whether it was."""
        with _MAKE_LOCK:  # most jobs never wait, and need no event
            if self._event is None:
                self._event = threading.Event()
        return self.stopping or self._event.wait(seconds)

    def note(self, text: str) -> None:
        """Record a step of stopping the job; `conveyor show` prints it at once."""
        self.notes = (*self.notes, StopNote(time.time(), text))
        self.sink.set_stop_notes(self.job, self.notes)

    def report_progress(self, progress: Progress) -> None:
        """Report the job's progress."""
        self.sink.set_progress(self.job, progress)

    def write(self, stream: Stream, data: bytes) -> None:
        """Append to the job's output."""
        self.sink.write(self.job, stream, data)

    def folder(self) -> str:
        """Return the path of the job's workdir, which the first call creates, or MachineError."""
        return self.planned_workdir().create()

    def planned_workdir(self) -> Workdir:
        """Return the job's workdir, which need not exist yet."""
        if self.workdir_root is None:
            raise UsageError(f"job {self.job.id} has no folder: it does not run in a worker")
        with _MAKE_LOCK:
            if self.workdir is None:
                self.workdir = self.workdir_root.new_workdir()
        return self.workdir

    def register_artifact(self, name: str, path: str) -> None:
        """Register a file as an artifact; it is kept as it is when the job's code has ended.

        One more than a job can have is enough to fail it.
        """
        if len(self.artifacts) <= FILES_LIMIT or name in self.artifacts:
            self.artifacts[name] = path

    async def complete(self, connection: object, result: object, *, in_coroutine: bool) -> None:
        """Have the commit of a connection's transaction complete the job."""
        encoded = encode_result(result, self.task.results, self.task.name)
        self.completing = True
        schema = "" if self.completions is None else self.completions.schema
        await complete_within(connection, self.job, encoded, schema, in_coroutine=in_coroutine)

    def _grace(self, request: StopRequest) -> float:
        return self.job.options.grace if request.grace is None else request.grace


def job_environment(job: JobRecord) -> dict[str, str]:
    """Return the environment variables that describe a job to its programs."""
    return {
        "CONVEYOR_JOB_ID": job.id,
        "CONVEYOR_ATTEMPT": str(job.attempt),
        "CONVEYOR_LEASE": str(job.lease),
    }


def trace_environment(trace: TraceContext | None) -> dict[str, str]:
    """Return the environment variables in which the programs of a job find its trace.

    What anybody may have stored is read again, and left out if it cannot be read.
    """
    known = None if trace is None else read_trace(trace.parent, trace.state)
    return {} if known is None else known.environment()


_MAKE_LOCK = threading.Lock()


class Runner(Protocol):
    """Runs jobs of one kind. Whatever a job's code does, `run` returns how it ended."""

    async def run(self, control: JobControl) -> RunResult:
        """Run one job to its end and return how it ended.

        Returns Stopped only if a stop was requested and the code has ended. To stop a job, call
        `control.stop`; do not cancel this coroutine.
        """
        ...

    async def probe(self) -> MachineFault | None:
        """Return why no job of this kind could start now; None if one could."""
        ...

    async def close(self) -> None:
        """End all threads and processes. No job may be running."""
        ...
