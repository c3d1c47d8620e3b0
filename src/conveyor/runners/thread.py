"""Runs blocking jobs in threads of the worker's process."""

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
from ..core.lifecycle import Failed, Snoozed, Succeeded
from ..errors import EncodingError, JobCancelledError, Snooze
from .job_control import Control, Ending, Stopped

# How long threads get to end when the runner is closed.
JOIN = 1.0
LOOK = 0.002
NOTHING = Succeeded()


class ThreadRunner:
    """At most `threads` daemon threads, started when they are first needed."""

    def __init__(self, threads: int) -> None:
        self._most = threads
        self._threads: list[threading.Thread] = []
        self._wanted = 0
        self._work: SimpleQueue[tuple[Control, asyncio.Future[Ending]] | None] = SimpleQueue()
        self._done: deque[tuple[asyncio.Future[Ending], Ending]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waking = False

    async def run(self, control: Control) -> Ending:
        """Run one blocking job. It is asked to stop, but cannot be made to."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Ending] = self._loop.create_future()
        self._wanted += 1
        if len(self._threads) < self._wanted and len(self._threads) < self._most:
            self._start_thread()
        self._work.put((control, future))
        return await future

    async def close(self) -> None:
        """Let the threads end. One that still runs a job is left behind; it is a daemon."""
        for _ in self._threads:
            self._work.put(None)
        # Those that still run a job were given up; the others end at once.
        deadline = time.monotonic() + (0.0 if self._wanted else JOIN)
        # Not joined in a thread of an executor: there is none any more when atexit stops a worker.
        while any(each.is_alive() for each in self._threads) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(LOOK)

    def _start_thread(self) -> None:
        thread = threading.Thread(
            target=self._serve, name=f"conveyor-job-{len(self._threads)}", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        while (item := self._work.get()) is not None:
            control, future = item
            self._done.append((future, run_blocking(control)))
            # One call into the loop for all that end before it comes round: a call for each job
            # was measured to cost 80 times as much.
            if not self._waking and self._loop is not None:
                self._waking = True
                with suppress(RuntimeError):  # the loop is closed: the job was left behind
                    self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._waking = False
        while self._done:
            future, ending = self._done.popleft()
            self._wanted -= 1
            if not future.done():
                future.set_result(ending)


def run_blocking(control: Control) -> Ending:
    """Run a job's function here and now, in a context of its own, and say how it ended."""
    if control.stopping:
        return Stopped()
    return contextvars.copy_context().run(_run, control)


def _run(control: Control) -> Ending:
    CURRENT.set(CurrentJob(control))
    task = control.task
    try:
        args, kwargs = task.args.decode(control.job.args)
        value = task.function(*args, **kwargs)
        return NOTHING if value is None else Succeeded(encode_result(value, task.name))
    except Snooze as wish:
        return Snoozed(wish.delay)
    except EncodingError as error:
        return Failed(error_info(error), retry=False)
    except BaseException as error:  # noqa: BLE001 - a job may raise anything; the worker must not die of it
        if isinstance(error, JobCancelledError) and control.stopping:
            return Stopped()
        return Failed(error_info(error))
