"""The child process that runs blocking jobs which must be stoppable, one after the other.

It is told what to run on stdin; see messages.py. Its arguments are the worker's log level and its
sys.path.
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
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from multiprocessing import spawn
from types import FrameType
from typing import Any, BinaryIO

from ..core.codec import ArgsCodec, encode_result
from ..core.error_info import error_info
from ..core.job import JobRecord, Progress, Stream
from ..core.job_context import CURRENT, CurrentJob
from ..core.lifecycle import Failed, Snoozed, Succeeded
from ..errors import EncodingError, JobCancelledError, Snooze, UsageError
from .capture import JobLog
from .child_protocol import (
    ANSWERS,
    HALT,
    HALTS,
    MADE,
    UNMADE,
    Answer,
    Begun,
    Done,
    Kept,
    Needs,
    Run,
    Said,
    Wrote,
    decode_run,
    encode,
)
from .job_control import Ending, Stopped, job_environment

# How often a job that waits for its folder looks whether it is to stop, in seconds.
LOOK = 0.2


def main() -> None:
    """Serve as the arguments say."""
    level = int(sys.argv[1])
    sys.argv[:] = sys.argv[:1]
    logging.getLogger().setLevel(level)
    for each in (ANSWERS, HALTS):
        os.set_inheritable(each, False)  # noqa: FBT003 - the only way to call it
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    with _take_stdin() as runs, os.fdopen(ANSWERS, "wb") as out:
        Child(out).serve(runs, HALTS)


class Child:
    """Runs what it is told to, until stdin ends."""

    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers
        self._lock = threading.Lock()
        self._link: _Link | None = None
        self._functions: dict[str, tuple[Callable[..., Any], ArgsCodec]] = {}

    def serve(self, runs: BinaryIO, halts: int) -> None:
        """Run jobs in this thread while another one listens for a stop."""
        threading.Thread(target=self._listen, args=(halts,), daemon=True).start()
        signal.signal(signal.SIGTERM, self._interrupt)
        for line in runs:
            run = decode_run(line)
            self._link = link = _Link(run, self._answers, self._lock)
            # A context for each job, so that what it sets does not reach the next one.
            with _environment(run.job):
                ending = contextvars.copy_context().run(self._run, run, link)
            self._link = None
            _flush()
            link.answer(Done(ending, resident()))
            if link.stopping:
                os._exit(0)  # whoever stops it waits until nothing of it is left

    def _listen(self, halts: int) -> None:
        while word := os.read(halts, 1):
            link = self._link
            if link is not None and word == HALT:
                link.halt()
            elif link is not None and word in (MADE, UNMADE):
                link.give_folder(made=word == MADE)
        os._exit(0)  # the worker has ended

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        link = self._link
        if link is None:
            os._exit(0)
        link.halt()
        raise JobCancelledError(link.job.id, f"job {link.job.id} was told to stop by SIGTERM")

    def _run(self, run: Run, link: _Link) -> Ending:
        CURRENT.set(CurrentJob(link))
        try:
            function, codec = self._find(run)
        except UsageError as error:
            return Failed(error_info(error), retry=False)
        try:
            args, kwargs = codec.decode(run.job.args)
            if link.stopping:  # what a signal raises may be lost in the middle of an import
                return Stopped()
            link.answer(Begun())
            value = function(*args, **kwargs)
            if inspect.iscoroutine(value):
                value = asyncio.run(value)
            return Succeeded(encode_result(value, run.job.task))
        except Snooze as wish:
            return Snoozed(wish.delay)
        except EncodingError as error:
            return Failed(error_info(error), retry=False)
        except BaseException as error:  # noqa: BLE001 - a job may raise anything; the child must not die of it
            if isinstance(error, JobCancelledError) and link.stopping:
                return Stopped()
            return Failed(error_info(error))

    def _find(self, run: Run) -> tuple[Callable[..., Any], ArgsCodec]:
        known = self._functions.get(run.where)
        if known is None:
            function = find_function(run.where, run.main)
            known = self._functions[run.where] = function, ArgsCodec(function)
            _log_to_jobs()
        return known


def find_function(where: str, main: dict[str, Any]) -> Callable[..., Any]:
    """Import the function "module:qualname"; UsageError that says what did not work."""
    module_name, _, path = where.partition(":")
    try:
        if main:
            spawn.prepare(main)
        found: Any = importlib.import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
    except JobCancelledError:  # told to stop while it was importing: that is no fault of the module
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"{where!r} cannot be imported in a worker's child process: "
            f"{type(error).__name__}: {error}. A function that runs in a process must stand at "
            "the top level of a module that can be imported."
        ) from error
    task = getattr(found, "task", None)
    function: Callable[..., Any] = getattr(task, "function", found)
    return function


def resident() -> int:
    """Return how much memory this process uses now, in bytes.

    Not getrusage's peak: Linux starts that at the peak of whoever called exec, the worker.
    """
    with suppress(OSError), open("/proc/self/statm", "rb", buffering=0) as file:
        return int(file.read().split()[1]) * resource.getpagesize()
    return 0


class _Link:
    """How the running job reaches the worker."""

    def __init__(self, run: Run, answers: BinaryIO, lock: threading.Lock) -> None:
        self.job = run.job
        self._folder = run.folder
        self._made = run.made
        self._answered = threading.Event()
        self._answers = answers
        self._lock = lock
        self._stop = threading.Event()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def halt(self) -> None:
        self._stop.set()

    def wait_for_stop(self, seconds: float) -> bool:
        return self._stop.wait(seconds)

    def say(self, progress: Progress) -> None:
        self.answer(Said(progress))

    def write(self, stream: Stream, data: bytes) -> None:
        self.answer(Wrote(stream, data))

    def folder(self) -> str:
        while not self._made:
            self._answered.clear()
            self.answer(Needs())
            while not self._answered.wait(LOOK):
                if self.stopping:
                    raise JobCancelledError(self.job.id, f"job {self.job.id} was asked to stop")
            if not self._made:
                raise UsageError("this job's folder cannot be made; its output says why")
        return self._folder

    def give_folder(self, *, made: bool) -> None:
        self._made = made
        self._answered.set()

    def keep(self, name: str, path: str) -> None:
        self.answer(Kept(name, path))

    def answer(self, message: Answer) -> None:
        with self._lock:
            self._answers.write(encode(message) + b"\n")
            self._answers.flush()


@contextmanager
def _environment(job: JobRecord) -> Generator[None]:
    names = job_environment(job)
    os.environ.update(names)
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)


def _take_stdin() -> BinaryIO:
    """Return stdin as a file of its own; the job's stdin is empty."""
    runs = os.fdopen(os.dup(0), "rb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return runs


def _log_to_jobs() -> None:
    # Not before the job's modules are imported: logging.basicConfig() in one of them does nothing
    # once there is a handler.
    root = logging.getLogger()
    if not any(isinstance(each, JobLog) for each in root.handlers):
        root.addHandler(JobLog())


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(
            OSError, ValueError, AttributeError
        ):  # the job may have closed or replaced it
            stream.flush()
