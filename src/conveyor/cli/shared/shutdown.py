"""Shuts a worker down: what its signals do, step by step, and its exit code.

First SIGTERM or SIGINT: claim no jobs, give running jobs the drain time, then stop them. Second:
stop them now. Third: exit immediately. SIGTSTP: claim no jobs; SIGCONT: claim again. A drain order
from the store does what the first signal does, and is not counted as a signal.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from typing import Any, NoReturn

from ...core.job import JobRecord
from ...store.messages import Report
from ...worker.worker import LEAVE, SHUTDOWN_GRACE, Worker
from .exec_handoff import leave
from .exit_codes import HANDED_BACK, OK
from .output import format_count, format_duration, print_stderr

OTHERS = (signal.SIGTSTP, signal.SIGCONT)
# How many running jobs to name; the others are counted.
NAMED = 10
# How much longer than its deadlines a worker may take before it is forced to exit, in seconds.
SLACK = 0.5
# How long closing the store may take after the worker has ended, if the deadlines allow it: the
# disk may be slow.
CLOSING = 2.0
# How long the event loop may take to respond before it counts as blocked, in seconds.
ANSWER = 0.25


class Exit:
    """What signals have asked of a worker. It may be heard before there is one.

    `loop` is the worker's, `drain` how long, in seconds, running jobs may finish.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, drain: float) -> None:
        self._loop = loop
        self._drain = drain
        self._seen: list[signal.Signals] = []
        self._worker: Worker | None = None
        self._early: list[Callable[[Worker], None]] = []
        self._url = self._secret = ""
        self._watch: threading.Timer | None = None
        self._due = inf
        self._once = threading.Lock()
        self._asked = asyncio.Event()

    @property
    def asked(self) -> bool:
        """Whether a signal has asked for the end."""
        return bool(self._seen)

    async def stay(self, work: asyncio.Task[Any]) -> None:
        """Wait for some work to be done, or until a signal asks for the end."""
        asked = asyncio.create_task(self._asked.wait())
        await asyncio.wait([work, asked], return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()

    def take(self, worker: Worker, url: str, secret: str = "") -> None:
        """Say whom it is about, before that runs, and how its store is opened.

        Call it in the loop. What signals have asked for until now is then done.
        """
        worker.on_phase = self._tell
        self._worker, self._url, self._secret = worker, url, secret
        for act in self._early:
            act(worker)

    def act(self, number: signal.Signals, count: int) -> None:
        """Hear a signal, in a thread of its own."""
        match number:
            case signal.SIGTSTP:
                self._call(lambda worker: worker.be_quiet())
            case signal.SIGCONT:
                self._call(lambda worker: worker.be_quiet(quiet=False))
            case _:
                self._seen.append(number)
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._asked.set)
                self._stop(number, count)

    def over(self) -> None:
        """Hear that the worker has ended: the rest gets a moment, no more.

        At its end a loop waits for what coroutines have given to its threads.
        """
        self._watch_in(max(SLACK, min(CLOSING, self._due - time.monotonic())))

    def finish(self) -> int:
        """Return the exit code of a worker that has ended; with threads left, exit here and now."""
        if self._watch is not None:
            self._watch.cancel()
        worker = self._worker
        if worker is None:  # it was told to end before it began
            return OK
        print_stderr(_tally(worker))
        if worker.left or _has_threads():
            self._leave(worker, worker.left)
        return self._code(worker)

    def _stop(self, number: signal.Signals, count: int) -> None:
        if count == 1:
            print_stderr(
                f"{number.name}: stopping; "
                "repeat to stop running jobs now, a third time to exit immediately"
            )
            self._call(lambda worker: worker.drain(self._drain))
            self._watch_for(self._drain)
        elif count == 2:
            print_stderr(f"{number.name} again: stopping running jobs now")
            self._call(lambda worker: worker.cancel_all())
            self._watch_for(0.0)
        else:
            print_stderr(f"{number.name} a third time: exiting now; jobs returned to the queue")
            try:
                if self._worker is not None:
                    self._worker.disown()
            finally:  # its loop goes on meanwhile, and may change what is looked at
                os._exit(128 + number)

    def _call(self, act: Callable[[Worker], None]) -> None:
        def do() -> None:
            if self._worker is None:
                self._early.append(act)
            else:
                act(self._worker)

        # All of it in the loop, so that nothing comes between there being none and there being one.
        with suppress(RuntimeError):  # the loop is closed: it has ended
            self._loop.call_soon_threadsafe(do)

    def _watch_for(self, drain: float) -> None:
        seconds = drain + SHUTDOWN_GRACE + LEAVE + SLACK
        self._due = time.monotonic() + seconds
        self._watch_in(seconds)

    def _watch_in(self, seconds: float) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch = threading.Timer(seconds, self._force)
        self._watch.daemon = True
        self._watch.start()

    def _force(self) -> None:
        worker = self._worker
        if worker is None:
            os._exit(128 + self._seen[-1])  # the store did not open in all that time
        left: Sequence[Report]
        if worker.ended.is_set():
            said = "exiting: threads are still running, of jobs or of a store that does not respond"
            left = worker.left
        else:
            goes_on, left = self._give_up(worker)
            slow = "the shutdown takes too long; the store may not be responding"
            blocked = "a job or a slow disk blocks the worker's event loop"
            said = f"forced exit: {slow if goes_on else blocked}"
        print_stderr(f"{said}\n{_tally(worker)}")
        self._leave(worker, left)

    def _give_up(self, worker: Worker) -> tuple[bool, Sequence[Report]]:
        """Give all jobs up, in the event loop if that goes on; say whether it does."""
        left: list[Report] = []
        done = threading.Event()

        def give_up() -> None:
            left.extend(worker.disown())
            done.set()

        with suppress(RuntimeError):  # it is closed
            self._loop.call_soon_threadsafe(give_up)
        return (True, left) if done.wait(ANSWER) else (False, worker.disown())

    def _leave(self, worker: Worker, left: Sequence[Report]) -> NoReturn:
        self._once.acquire()  # never let go: there is no way back
        leave(self._url, worker.id, left, self._code(worker), self._secret)

    def _code(self, worker: Worker) -> int:
        # A forced stop says so by the signal's own code, as a shell would.
        if len(self._seen) > 1:
            return 128 + self._seen[-1]
        return HANDED_BACK if worker.handed_back else OK

    def _tell(self, phase: str, running: Sequence[JobRecord]) -> None:
        if phase == "draining" and not self._seen:
            print_stderr("drain ordered by the store: stopping, as on SIGTERM")
            self._watch_for(self._drain)
        print_stderr(words(phase, running, self._drain))


def _tally(worker: Worker) -> str:
    return (
        f"worker {worker.id}: {format_count(worker.finished, 'job')} ended, "
        f"{worker.handed_back} returned to the queue"
    )


def _has_threads() -> bool:
    """Whether there are threads that the interpreter would wait for before it ends."""
    main = threading.main_thread()
    return any(not each.daemon for each in threading.enumerate() if each is not main)


def words(phase: str, running: Sequence[JobRecord], drain: float) -> str:
    """Describe a phase of the shutdown, and name the jobs that still run."""
    jobs = format_count(len(running), "running job")
    match phase:
        case "draining":
            said = f"draining: no new jobs; {jobs}, up to {drain:g} s to finish"
        case "stopping":
            said = f"stopping {jobs}, up to {SHUTDOWN_GRACE:g} s to stop"
        case "leaving":
            said = f"exiting with {jobs} that did not stop; returning them to the queue"
        case "quiet":
            said = f"quiet: no new jobs until SIGCONT or `conveyor workers resume`; {jobs}"
        case _:
            said = phase
    named = [_name(job) for job in running[:NAMED]]
    more = [f"  and {len(running) - NAMED} more"] if len(running) > NAMED else []
    return "\n".join([said, *named, *more])


def _name(job: JobRecord) -> str:
    since = format_duration(time.time() - job.started_at) if job.started_at else "-"
    return f"  {job.id} {job.task}, running for {since}"
