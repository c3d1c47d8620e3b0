"""The child process that runs blocking jobs, one after the other.

It reads requests on stdin; see child_protocol.py. Its argument is the worker's log level.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import inspect
import logging
import os
import resource
import signal
import sys
import threading
from collections import UserDict
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import spawn
from types import CoroutineType, FrameType
from typing import Any, BinaryIO

from ..core.around import Around, make_around
from ..core.codec import ArgsCodec, ResultCodec
from ..core.error_info import describe_import_error, error_info
from ..core.job import Progress, Stream
from ..core.job_context import CURRENT, CurrentJob, Settable, current_job
from ..core.lifecycle import Failed, Succeeded
from ..core.stack import MAX_FRAMES, Frame
from ..errors import JobCancelledError, UsageError
from ..tracing.active import continue_trace
from .arounds import await_within, call_within
from .caller_completion import complete_within, encode_result
from .capture import JobLogHandler
from .child_protocol import (
    CONTROL_FD,
    DUMP,
    MESSAGE_FD,
    OUTPUT_PIECE,
    STOP,
    WORKDIR_CREATED,
    WORKDIR_FAILED,
    ArtifactNamed,
    ChildMessage,
    ChildReady,
    CompletionBegun,
    FramesTaken,
    FunctionStarted,
    JobDone,
    OutputWritten,
    ProgressReport,
    RunJob,
    WaitNoted,
    WorkdirNeeded,
    decode_run,
    encode,
)
from .job_control import RunResult, Stopped, job_environment, trace_environment
from .job_exceptions import run_result_of_exception
from .machine_fault import MachineError, machine_fault
from .stack_frames import frames_of_coroutine, frames_of_thread

# How often a job that waits for its workdir checks whether it must stop, in seconds.
STOP_POLL = 0.2


def main() -> None:
    """Run jobs until stdin ends."""
    level = int(sys.argv[1])
    sys.argv[:] = sys.argv[:1]
    logging.getLogger().setLevel(level)
    for descriptor in (MESSAGE_FD, CONTROL_FD):
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - the only way to call it
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    with _detach_stdin() as requests, os.fdopen(MESSAGE_FD, "wb") as messages:
        Child(messages).serve(requests, CONTROL_FD)


class Child:
    """Runs the jobs that the worker requests."""

    def __init__(self, messages: BinaryIO) -> None:
        self._messages = messages
        self._lock = threading.Lock()
        self._link: _JobLink | None = None
        self._imported_rss = 0
        self._functions: dict[str, tuple[Callable[..., Any], ArgsCodec, ResultCodec]] = {}
        self._arounds: dict[str, Around] = {}

    def serve(self, requests: BinaryIO, control_fd: int) -> None:
        """Run jobs in this thread, while another thread reads the control pipe."""
        threading.Thread(target=self._read_control, args=(control_fd,), daemon=True).start()
        signal.signal(signal.SIGTERM, self._on_sigterm)
        self._messages.write(encode(ChildReady(os.getpid())) + b"\n")
        self._messages.flush()
        for line in requests:
            run = decode_run(line)
            self._link = link = _JobLink(run, self._messages, self._lock)
            # One context per job, so that a job's context variables do not reach the next job.
            with _environment(job_environment(run.job) | trace_environment(run.trace)):
                run_result = contextvars.copy_context().run(self._run, run, link)
            self._link = None
            _flush()
            link.send(JobDone(run_result, resident_memory()))
            if link.stopping:
                os._exit(0)  # the worker waits until no process is left

    def _read_control(self, control_fd: int) -> None:
        while order := os.read(control_fd, 1):
            link = self._link
            if link is not None and order == STOP:
                link.stop()
            elif link is not None and order == DUMP:
                link.send(FramesTaken(link.frames()[-MAX_FRAMES:]))
            elif link is not None and order in (WORKDIR_CREATED, WORKDIR_FAILED):
                link.set_workdir(created=order == WORKDIR_CREATED)
        os._exit(0)  # the worker has exited

    def _on_sigterm(self, _number: int, _frame: FrameType | None) -> None:
        link = self._link
        if link is None:
            os._exit(0)
        link.stop()
        raise JobCancelledError(link.job.id, f"job {link.job.id} was stopped by SIGTERM")

    def _run(self, run: RunJob, link: _JobLink) -> RunResult:
        CURRENT.set(CurrentJob(link))
        try:
            function, arguments, results = self._find_function(run)
            arounds = [self._find_around(where, run.main) for where in run.arounds]
            link.results = results
            continue_trace(run.trace)
        except UsageError as error:
            return machine_fault(error.__cause__) or Failed(error_info(error), retry=False)
        try:
            args, kwargs = arguments.decode(run.job.args)
            if link.stopping:  # an import may have swallowed what the signal handler raised
                return Stopped()
            link.send(FunctionStarted(self._imported_rss))
            value = _call(function, args, kwargs, arounds, link)
            return Succeeded(results.encode(value, run.job.task))
        except BaseException as error:  # noqa: BLE001 - a job may raise anything; the child must survive it
            return run_result_of_exception(
                error, stopping=link.stopping, retry_on=run.job.options.retry_on
            )

    def _find_around(self, where: str, main: dict[str, Any]) -> Around:
        known = self._arounds.get(where)
        if known is None:
            known = self._arounds[where] = make_around(find_function(where, main))
        return known

    def _find_function(self, run: RunJob) -> tuple[Callable[..., Any], ArgsCodec, ResultCodec]:
        known = self._functions.get(run.where)
        if known is None:
            function = find_function(run.where, run.main)
            known = function, ArgsCodec(function), ResultCodec(function)
            self._functions[run.where] = known
            _install_log_handler()
            self._imported_rss = resident_memory()
        return known


def _call(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    arounds: Sequence[Around],
    link: _JobLink,
) -> Any:
    call = partial(function, *args, **kwargs)
    if not arounds:
        return _finish(call, link)
    job = current_job()
    if inspect.iscoroutinefunction(function):
        return link.run(await_within(arounds, job, call))
    return call_within(arounds, job, partial(_finish, call, link))


def _finish(call: Callable[[], Any], link: _JobLink) -> Any:
    value = call()
    return link.run(value) if inspect.iscoroutine(value) else value


def find_function(where: str, main: dict[str, Any]) -> Callable[..., Any]:
    """Import the function "module:qualname"; UsageError if that fails."""
    module_name, _, path = where.partition(":")
    try:
        if main:
            spawn.prepare(main)
        found: Any = importlib.import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
    except JobCancelledError:  # stopped during the import: not an error of the module
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"cannot import {where!r} in a worker's child process: "
            f"{describe_import_error(error)}. A function that runs in a process must be at the "
            "top level of an importable module."
        ) from error
    task = getattr(found, "task", None)
    function: Callable[..., Any] = getattr(task, "function", found)
    return function


def resident_memory() -> int:
    """Return the resident memory of this process, in bytes.

    Not getrusage's peak: on Linux it starts at the peak of the process that called exec.
    """
    with suppress(OSError), open("/proc/self/statm", "rb", buffering=0) as file:
        return int(file.read().split()[1]) * resource.getpagesize()
    return 0


class _JobLink:
    """Connects the running job to the worker."""

    def __init__(self, run: RunJob, messages: BinaryIO, lock: threading.Lock) -> None:
        self.job = run.job
        self.trace = run.trace
        self._folder = run.folder
        self._created = run.created
        self._schema = run.schema
        self._replied = threading.Event()
        self._messages = messages
        self._lock = lock
        self._stop = threading.Event()
        self.results: ResultCodec | None = None
        self.code: CoroutineType[Any, Any, Any] | None = None
        self.waits = _Waits(lambda what: self.send(WaitNoted(what)))

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        self._stop.set()
        for event in tuple(self.waits):
            event.set()

    def run(self, code: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine of the job to its end."""
        self.code = code if isinstance(code, CoroutineType) else None
        return asyncio.run(code)

    def frames(self) -> list[Frame]:
        """Return what the job's code does: a suspended coroutine, or the main thread."""
        if self.code is not None and self.code.cr_frame is not None and not self.code.cr_running:
            return frames_of_coroutine(self.code)
        return frames_of_thread(threading.main_thread().ident or 0)

    def wait_for_stop(self, seconds: float) -> bool:
        return self._stop.wait(seconds)

    def report_progress(self, progress: Progress) -> None:
        self.send(ProgressReport(progress))

    def write(self, stream: Stream, data: bytes) -> None:
        for start in range(0, len(data), OUTPUT_PIECE):
            self.send(OutputWritten(stream, data[start : start + OUTPUT_PIECE]))

    def folder(self) -> str:
        while not self._created:
            self._replied.clear()
            self.send(WorkdirNeeded())
            while not self._replied.wait(STOP_POLL):
                if self.stopping:
                    raise JobCancelledError(self.job.id, f"job {self.job.id} was asked to stop")
            if not self._created:
                raise MachineError("cannot create this job's folder; see the job's output")
        return self._folder

    def set_workdir(self, *, created: bool) -> None:
        self._created = created
        self._replied.set()

    def register_artifact(self, name: str, path: str) -> None:
        self.send(ArtifactNamed(name, path))

    async def complete(self, connection: object, result: object, *, in_coroutine: bool) -> None:
        assert self.results is not None, "its function is known by then"
        encoded = encode_result(result, self.results, self.job.task)
        self.send(CompletionBegun())
        await complete_within(
            connection, self.job, encoded, self._schema, in_coroutine=in_coroutine
        )

    def send(self, message: ChildMessage) -> None:
        with self._lock:
            self._messages.write(encode(message) + b"\n")
            self._messages.flush()


class _Waits(UserDict[Settable, str]):
    """What the job's code waits for, by the event that ends each wait. Changes are reported."""

    def __init__(self, report: Callable[[str], None]) -> None:
        super().__init__()
        self._report = report

    def __setitem__(self, event: Settable, what: str) -> None:
        super().__setitem__(event, what)
        self._report(what)

    def __delitem__(self, event: Settable) -> None:
        super().__delitem__(event)
        self._report(next(iter(tuple(self.data.values())), ""))


@contextmanager
def _environment(names: Mapping[str, str]) -> Generator[None]:
    os.environ.update(names)
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)


def _detach_stdin() -> BinaryIO:
    """Return stdin as another file; the job's stdin is /dev/null."""
    requests = os.fdopen(os.dup(0), "rb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return requests


def _install_log_handler() -> None:
    # After the job's modules are imported: logging.basicConfig() in one of them would do nothing
    # if there were a handler.
    root = logging.getLogger()
    if not any(isinstance(each, JobLogHandler) for each in root.handlers):
        root.addHandler(JobLogHandler())


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(
            OSError, ValueError, AttributeError
        ):  # the job may have closed or replaced it
            stream.flush()
