"""The child process that runs blocking jobs which must be stoppable, one after the other.

It reads messages on stdin and answers on the descriptor given as its first argument; see
messages.py. The rest of its arguments are the worker's sys.path.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import inspect
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import spawn
from queue import SimpleQueue
from types import FrameType
from typing import Any, BinaryIO

from ..codec import ArgsCodec, encode_result
from ..current import CURRENT, CurrentJob
from ..errors import EncodingError, JobCancelledError, Snooze, UsageError
from ..failure import error_info
from ..job import JobRecord, Progress, Stream
from ..lifecycle import Failed, Snoozed, Succeeded
from .capture import JobLog
from .control import Ending, Stopped
from .messages import (
    Done,
    Halt,
    Prepare,
    Run,
    Said,
    ToWorker,
    Wrote,
    decode_for_child,
    encode,
)

PR_SET_PDEATHSIG = 1


class _Link:
    """How the running job reaches the worker."""

    def __init__(self, job: JobRecord, answers: BinaryIO, lock: threading.Lock) -> None:
        self.job = job
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

    def answer(self, message: ToWorker) -> None:
        with self._lock:
            self._answers.write(encode(message) + b"\n")
            self._answers.flush()


class Child:
    """Runs what it is told to, until stdin ends."""

    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers
        self._lock = threading.Lock()
        self._runs: SimpleQueue[Run] = SimpleQueue()
        self._link: _Link | None = None
        self._functions: dict[str, tuple[Callable[..., Any], ArgsCodec]] = {}

    def serve(self, messages: BinaryIO) -> None:
        """Run jobs in this thread while another one listens."""
        listener = threading.Thread(target=self._listen, args=(messages,), daemon=True)
        listener.start()
        signal.signal(signal.SIGTERM, self._interrupt)
        # Ctrl-C reaches the whole foreground group; only the worker decides what it means.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True:
            run = self._runs.get()
            self._link = link = _Link(run.job, self._answers, self._lock)
            ending = self._run(run, link)
            self._link = None
            _flush()
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            link.answer(Done(ending, peak))

    def _listen(self, messages: BinaryIO) -> None:
        for line in messages:
            match decode_for_child(line):
                case Run() as run:
                    self._runs.put(run)
                case Halt() if self._link is not None:
                    self._link.halt()
                case Prepare(parent) if os.getppid() != parent:
                    os._exit(1)  # it died before it could be noticed
                case Halt() | Prepare():
                    continue
        os._exit(0)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        link = self._link
        if link is not None:
            link.halt()
            raise JobCancelledError(link.job.id, f"job {link.job.id} was told to stop by SIGTERM")
        os._exit(0)

    def _run(self, run: Run, link: _Link) -> Ending:
        CURRENT.set(CurrentJob(link))
        try:
            function, codec = self._find(run)
            args, kwargs = codec.decode(run.job.args)
            value = function(*args, **kwargs)
            if inspect.iscoroutine(value):
                value = asyncio.run(value)
            return Succeeded(encode_result(value, run.job.task))
        except Snooze as wish:
            return Snoozed(wish.delay)
        except (EncodingError, UsageError) as error:
            return Failed(error_info(error), retry=False)
        except BaseException as error:  # noqa: BLE001 - a job may raise anything; the child must not die of it
            if isinstance(error, JobCancelledError) and link.stopping:
                return Stopped()
            return Failed(error_info(error))
        finally:
            CURRENT.set(None)

    def _find(self, run: Run) -> tuple[Callable[..., Any], ArgsCodec]:
        known = self._functions.get(run.where)
        if known is None:
            function = find_function(run.where, run.main)
            known = self._functions[run.where] = function, ArgsCodec(function)
        return known


def find_function(where: str, main: dict[str, Any]) -> Callable[..., Any]:
    """Import the function "module:qualname"; UsageError that says what did not work."""
    module_name, _, path = where.partition(":")
    try:
        if main and module_name == "__main__":
            spawn.prepare(main)
        found: Any = importlib.import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise UsageError(
            f"{where!r} cannot be imported in a worker's child process: "
            f"{type(error).__name__}: {error}. A function that runs in a process must stand at "
            "the top level of a module that can be imported."
        ) from error
    task = getattr(found, "task", None)
    function: Callable[..., Any] = getattr(task, "function", found)
    return function


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent's thread ends (Linux; prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue


def main() -> None:
    """Serve on stdin and the descriptor given as argument."""
    die_with_parent()
    messages = os.fdopen(os.dup(0), "rb")
    # The job's own stdin is empty: the messages are not for it to read.
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    logging.getLogger().addHandler(JobLog())
    with os.fdopen(int(sys.argv[1]), "wb") as answers:
        Child(answers).serve(messages)
