"""Runs blocking jobs in threads of the worker process."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections import deque
from contextlib import suppress
from functools import partial

from ..core.error_info import error_info
from ..core.job_context import CURRENT, CurrentJob
from ..core.lifecycle import Failed, Succeeded
from .arounds import call_within
from .job_control import JobControl, RunResult, Stopped
from .job_exceptions import run_result_of_exception
from .machine_fault import MachineFault, machine_fault

# How long threads get to exit when the runner is closed, and how often that is checked, in seconds.
JOIN_TIMEOUT, JOIN_POLL = 1.0, 0.002
NO_RESULT = Succeeded()


_Call = tuple[JobControl, asyncio.Future[RunResult]]


class ThreadRunner:
    """At most `threads` daemon threads, started on demand.

    Waking a thread costs more than running a short job. So all jobs wait in one line, a thread
    that has ended a job takes the next one itself, and only one thread at a time is being woken:
    if a job still waits when it has taken its own, it wakes the thread that was idle last, or
    starts one. Jobs that block thus get a thread each, and short ones share a few.
    """

    def __init__(self, threads: int) -> None:
        self._max_threads = threads
        self._calls: deque[_Call] = deque()
        self._lock = threading.Lock()  # for the four fields below
        self._threads: list[_JobThread] = []
        self._idle: list[_JobThread] = []  # the one that was idle last is woken first
        self._waking = False
        self._closed = False
        self._outstanding: set[asyncio.Future[RunResult]] = set()
        self._finished: deque[tuple[asyncio.Future[RunResult], RunResult]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._delivery_scheduled = False

    async def run(self, control: JobControl) -> RunResult:
        """Run one blocking job. It can be requested to stop, but not forced."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        future: asyncio.Future[RunResult] = self._loop.create_future()
        self._outstanding.add(future)
        call = control, future
        self._calls.append(call)
        if not self._waking:  # else that thread sees this call, and wakes the next one
            try:
                self._wake_thread()
            except RuntimeError as error:  # the system has no room for another thread
                if self._remove(call):
                    return machine_fault(error) or Failed(error_info(error))
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
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for thread in idle:
            thread.open_gate()
        # Threads that still run a job are abandoned; the others exit at once.
        deadline = time.monotonic() + (0.0 if self._outstanding else JOIN_TIMEOUT)
        # Not joined in an executor's thread: executors are gone when atexit stops a worker.
        while any(each.is_alive() for each in self._threads) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(JOIN_POLL)

    def take(self, thread: _JobThread) -> _Call | None:
        """Return the next call for a thread, which waits for it here; None once it must exit."""
        while True:
            if thread.waking:  # it was started or woken just now
                thread.waking = self._waking = False
            try:
                call = self._calls.popleft()
            except IndexError:
                if not self._add_idle(thread):
                    return None
                thread.gate.acquire()
            else:
                if self._calls and not self._waking:
                    with suppress(RuntimeError):  # this thread takes those calls when it is free
                        self._wake_thread()
                return call

    def _add_idle(self, thread: _JobThread) -> bool:
        """Note that a thread has nothing to do; return whether it must go on nevertheless."""
        with self._lock:
            if self._calls:
                thread.open_gate()
            elif self._closed:
                return False
            elif thread not in self._idle:
                self._idle.append(thread)
        return True

    def remove_idle(self, thread: _JobThread) -> None:
        """Note that a thread is not idle, although no job has woken it."""
        with self._lock, suppress(ValueError):
            self._idle.remove(thread)

    def _wake_thread(self) -> None:
        """Wake or start a thread for the calls that wait; RuntimeError if there can be none."""
        with self._lock:
            if self._waking or not self._calls:
                return
            if self._idle:
                thread = self._idle.pop()
                thread.waking = self._waking = True
                thread.open_gate()
                return
            if len(self._threads) == self._max_threads:
                return
            thread = _JobThread(self, len(self._threads))
            self._threads.append(thread)
            self._waking = True
        try:
            thread.start()
        except RuntimeError:
            with self._lock:
                self._threads.remove(thread)
                self._waking = False
            raise

    def _remove(self, call: _Call) -> bool:
        """Take back a call; return False if a thread has it already."""
        try:
            self._calls.remove(call)
        except ValueError:
            return False
        self._outstanding.discard(call[1])
        return True

    def finish(self, call: _Call, run_result: RunResult) -> None:
        """Tell the event loop how a job ended."""
        self._finished.append((call[1], run_result))
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
            self._outstanding.discard(future)
            if not future.done():
                future.set_result(run_result)


class _JobThread(threading.Thread):
    """One thread, which waits at its gate while it is idle. `waking`: it is the one being woken."""

    def __init__(self, runner: ThreadRunner, number: int) -> None:
        super().__init__(name=f"conveyor-job-{number}", daemon=True)
        self.gate = threading.Lock()
        self.gate.acquire()
        self.waking = True
        self._runner = runner

    def open_gate(self) -> None:
        """Let the thread pass its gate once."""
        if self.gate.locked():
            self.gate.release()

    def run(self) -> None:
        """Run jobs until the runner is closed."""
        while self._run_jobs():
            continue

    def _run_jobs(self) -> bool:
        """Run jobs; return whether an error that is not a job's own has interrupted that."""
        call: _Call | None = None
        try:
            while (call := self._runner.take(self)) is not None:
                self._runner.finish(call, _run_in_context(call[0]))
        except BaseException as error:  # noqa: BLE001 - code that interrupts threads may raise anything anywhere
            self._runner.remove_idle(self)
            if call is not None:
                self._runner.finish(call, run_result_of_exception(error, stopping=False))
            return True
        return False


def _run_in_context(control: JobControl) -> RunResult:
    if control.stopping:
        return Stopped()
    return (control.variables or contextvars.copy_context()).run(_run, control)


def _run(control: JobControl) -> RunResult:
    current, task = CurrentJob(control), control.task
    CURRENT.set(current)
    control.thread = threading.get_ident()
    try:
        args, kwargs = task.args.decode(control.job.args)
        if task.arounds:
            value = call_within(task.arounds, current, partial(task.function, *args, **kwargs))
        else:
            value = task.function(*args, **kwargs)
        if value is None and task.results.allows_none:
            return NO_RESULT
        return Succeeded(task.results.encode(value, task.name))
    except BaseException as error:  # noqa: BLE001 - a job may raise anything; the worker must survive it
        control.exception = error
        return run_result_of_exception(
            error, stopping=control.stopping, retry_on=control.job.options.retry_on
        )


def _do_nothing() -> None:
    """End at once."""
