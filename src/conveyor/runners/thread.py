"""Runs blocking jobs in threads of the worker process."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections import deque
from contextlib import suppress
from queue import SimpleQueue

from ..core.codec import encode_result
from ..core.error_info import error_info
from ..core.job_context import CURRENT, CurrentJob
from ..core.lifecycle import Failed, Succeeded
from .job_control import JobControl, RunResult, Stopped
from .job_exceptions import run_result_of_exception
from .machine_fault import MachineFault, machine_fault

# How long threads get to exit when the runner is closed, and how often that is checked, in seconds.
JOIN_TIMEOUT, JOIN_POLL = 1.0, 0.002
NO_RESULT = Succeeded()


class ThreadRunner:
    """At most `threads` daemon threads, started on demand."""

    def __init__(self, threads: int) -> None:
        self._max_threads = threads
        self._threads: list[threading.Thread] = []
        self._running = 0
        self._work: SimpleQueue[tuple[JobControl, asyncio.Future[RunResult]] | None] = SimpleQueue()
        self._finished: deque[tuple[asyncio.Future[RunResult], RunResult]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._delivery_scheduled = False

    async def run(self, control: JobControl) -> RunResult:
        """Run one blocking job. It can be requested to stop, but not forced."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        future: asyncio.Future[RunResult] = self._loop.create_future()
        if len(self._threads) <= self._running and len(self._threads) < self._max_threads:
            try:
                self._start_thread()
            except RuntimeError as error:  # the system has no room for another thread
                return machine_fault(error) or Failed(error_info(error))
        self._running += 1
        self._work.put((control, future))
        return await future

    async def probe(self) -> MachineFault | None:
        """Start a thread."""
        try:
            threading.Thread(target=_do_nothing, daemon=True).start()
        except RuntimeError as error:
            return machine_fault(error)
        return None

    async def close(self) -> None:
        """Let the threads exit. A thread that still runs a job is abandoned; it is a daemon."""
        for _ in self._threads:
            self._work.put(None)
        # Threads that still run a job are abandoned; the others exit at once.
        deadline = time.monotonic() + (0.0 if self._running else JOIN_TIMEOUT)
        # Not joined in an executor's thread: executors are gone when atexit stops a worker.
        while any(each.is_alive() for each in self._threads) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(JOIN_POLL)

    def _start_thread(self) -> None:
        thread = threading.Thread(
            target=self._serve, name=f"conveyor-job-{len(self._threads)}", daemon=True
        )
        thread.start()
        self._threads.append(thread)

    def _serve(self) -> None:
        while (item := self._work.get()) is not None:
            control, future = item
            self._finished.append((future, _run_in_context(control)))
            # One call into the loop for all jobs that end before the loop runs it: a call for each
            # job was measured to cost 80 times as much.
            if not self._delivery_scheduled and self._loop is not None:
                self._delivery_scheduled = True
                with suppress(RuntimeError):  # the loop is closed: the job was abandoned
                    self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._delivery_scheduled = False
        while self._finished:
            future, run_result = self._finished.popleft()
            self._running -= 1
            if not future.done():
                future.set_result(run_result)


def _run_in_context(control: JobControl) -> RunResult:
    if control.stopping:
        return Stopped()
    return contextvars.copy_context().run(_run, control)


def _run(control: JobControl) -> RunResult:
    CURRENT.set(CurrentJob(control))
    task = control.task
    try:
        args, kwargs = task.args.decode(control.job.args)
        value = task.function(*args, **kwargs)
        return NO_RESULT if value is None else Succeeded(encode_result(value, task.name))
    except BaseException as error:  # noqa: BLE001 - a job may raise anything; the worker must survive it
        control.exception = error
        return run_result_of_exception(
            error, stopping=control.stopping, retry_on=control.job.options.retry_on
        )


def _do_nothing() -> None:
    """End at once."""
