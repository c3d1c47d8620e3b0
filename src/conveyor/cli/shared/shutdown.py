"""Shuts a worker down: what its signals do, step by step, and its exit code.

First SIGTERM or SIGINT: claim no jobs, give running jobs the drain time, then stop them. Second:
stop them now. Third: exit immediately. SIGTSTP: claim no jobs; SIGCONT: claim again. A drain order
from the store does what the first signal does, and is not counted as a signal. Neither is SIGHUP:
it does what the first signal does. Any other deadly signal ends the process as it does by default,
but the jobs are returned first.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from math import inf
from typing import Any, NoReturn

from ...core.job import JobRecord
from ...store.messages import Report
from ...system.deadly_signals import DEADLY, die_of, with_default_action
from ...worker.shutdown import LEAVE, SHUTDOWN_GRACE
from ...worker.worker import Worker
from .exec_handoff import hand_off_and_exit
from .exit_codes import FAILED, OK, RELEASED, UNREACHABLE, USAGE
from .output import format_count, format_duration, print_stderr, print_traceback

PAUSE_SIGNALS = (signal.SIGTSTP, signal.SIGCONT)
# How many running jobs to name; the others are counted.
MOST_NAMED = 10
# How much longer than its deadlines a worker may take before it is forced to exit, in seconds.
SLACK = 0.5
# How long closing the store may take after the worker has ended, if the deadlines allow it: the
# disk may be slow.
CLOSE_TIMEOUT = 2.0
# How long the event loop may take to respond before it counts as blocked, in seconds.
RESPONSE_TIMEOUT = 0.25


def worker_signals() -> Sequence[signal.Signals]:
    """Return the signals that a worker handles besides SIGTERM and SIGINT.

    One that this process ignores (nohup), or that the application handles, is left alone.
    """
    return (*PAUSE_SIGNALS, *with_default_action((signal.SIGHUP, *DEADLY)))


class Shutdown:
    """Carries out what signals request of a worker, also before the worker exists.

    `loop` is the worker's event loop, `drain` the time for running jobs to finish, in seconds.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, drain: float) -> None:
        self._loop = loop
        self._drain = drain
        self._last_signal: signal.Signals | None = None
        self._is_forced = False
        self._worker: Worker | None = None
        self._deferred: list[Callable[[Worker], None]] = []
        self._url = self._secret = ""
        self._failure: Exception | None = None
        self._watchdog: threading.Timer | None = None
        self._deadline = inf
        self._hand_off_lock = threading.Lock()
        self._stop_requested = asyncio.Event()

    @property
    def is_requested(self) -> bool:
        """Whether a signal has requested the shutdown."""
        return self._last_signal is not None

    async def wait_for(self, work: asyncio.Task[Any]) -> None:
        """Wait until some work is done or a signal requests the shutdown."""
        stop = asyncio.create_task(self._stop_requested.wait())
        await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()

    def attach(self, worker: Worker, url: str, secret: str = "") -> None:
        """Set the worker, before it runs, and the address of its store.

        Call it in the event loop. What earlier signals have requested is then carried out.
        """
        worker.on_phase = self._print_phase
        self._worker, self._url, self._secret = worker, url, secret
        for act in self._deferred:
            act(worker)

    def handle_signal(self, number: signal.Signals, count: int) -> None:
        """Handle a signal; called in a thread of its own."""
        match number:
            case signal.SIGTSTP:
                self._call(lambda worker: worker.be_quiet())
            case signal.SIGCONT:
                self._call(lambda worker: worker.be_quiet(quiet=False))
            case signal.SIGHUP if self.is_requested:
                return  # as systemd and a closing terminal send it, after SIGTERM
            case _ if number in DEADLY:
                self._die(number)
            case _:
                self._last_signal = number
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._stop_requested.set)
                self._stop(number, max(1, count))

    @contextmanager
    def keep_failure(self) -> Generator[None]:
        """Keep an error that ended the worker: `finish` raises it, or exits where threads run."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - it is raised again
            self._failure = error

    def worker_ended(self) -> None:
        """Limit the time for the rest of the shutdown, now that the worker has ended.

        An event loop waits at its end for the work that coroutines have given to its threads.
        """
        self._force_in(max(SLACK, min(CLOSE_TIMEOUT, self._deadline - time.monotonic())))

    def finish(self) -> int:
        """Return the exit code of a worker that has ended; exit immediately if threads are left."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        worker = self._worker
        if worker is None:  # stopped before it began
            return OK
        print_stderr(_summary(worker))
        if worker.left or _has_threads():
            if self._failure is not None:
                print_traceback(self._failure)
            self._hand_off(worker, worker.left)
        if self._failure is not None:
            raise self._failure
        code = self._exit_code(worker)
        if worker.denied:
            print_stderr(f"conveyor: the server refuses this agent: {worker.denied}")
            return USAGE
        if worker.undelivered:
            results = format_count(worker.undelivered, "result")
            print_stderr(f"{results} could not be delivered to the store; the jobs run again")
            return code or UNREACHABLE
        return code

    def _stop(self, number: signal.Signals, count: int) -> None:
        if count == 1:
            print_stderr(
                f"{number.name}: stopping; "
                "repeat to stop running jobs now, a third time to exit immediately"
            )
            self._call(lambda worker: worker.drain(self._drain))
            self._force_after(self._drain)
        elif count == 2:
            self._is_forced = True
            print_stderr(f"{number.name} again: stopping running jobs now")
            self._call(lambda worker: worker.cancel_all())
            self._force_after(0.0)
        else:
            print_stderr(f"{number.name} a third time: exiting now; jobs returned to the queue")
            try:
                if self._worker is not None:
                    self._worker.abandon_at_exit()
            finally:  # the loop still runs and may change the jobs meanwhile, which raises
                os._exit(128 + number)

    def _die(self, number: signal.Signals) -> None:
        print_stderr(f"{number.name}: exiting now; jobs returned to the queue")
        try:
            if self._worker is not None:
                self._worker.abandon_at_exit()
        finally:  # see `_stop`
            die_of(number)

    def _call(self, act: Callable[[Worker], None]) -> None:
        def run() -> None:
            if self._worker is None:
                self._deferred.append(act)
            else:
                act(self._worker)

        # In the loop, so that it cannot run between the check and attach().
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(run)

    def _force_after(self, drain: float) -> None:
        seconds = drain + SHUTDOWN_GRACE + LEAVE + SLACK
        self._deadline = time.monotonic() + seconds
        self._force_in(seconds)

    def _force_in(self, seconds: float) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._watchdog = threading.Timer(seconds, self._force)
        self._watchdog.daemon = True
        self._watchdog.start()

    def _force(self) -> None:
        worker = self._worker
        if worker is None:
            # The store did not open in all this time.
            os._exit(128 + (self._last_signal or signal.SIGTERM))
        left: Sequence[Report]
        if worker.ended.is_set():
            text = "exiting: threads are still running, of jobs or of a store that does not respond"
            left = worker.left
        else:
            is_responsive, left = self._abandon_jobs(worker)
            slow = "the shutdown takes too long; the store may not be responding"
            blocked = "a job or a slow disk blocks the worker's event loop"
            text = f"forced exit: {slow if is_responsive else blocked}"
        print_stderr(text, _summary(worker))
        self._hand_off(worker, left)

    def _abandon_jobs(self, worker: Worker) -> tuple[bool, Sequence[Report]]:
        """Abandon all jobs, in the event loop if it responds; return whether it did."""
        left: list[Report] = []
        done = threading.Event()

        def abandon() -> None:
            left.extend(worker.abandon_at_exit())
            done.set()

        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(abandon)
        return (True, left) if done.wait(RESPONSE_TIMEOUT) else (False, worker.abandon_at_exit())

    def _hand_off(self, worker: Worker, left: Sequence[Report]) -> NoReturn:
        self._hand_off_lock.acquire()  # never released: the process ends here
        hand_off_and_exit(self._url, worker.id, left, self._exit_code(worker), self._secret)

    def _exit_code(self, worker: Worker) -> int:
        if self._failure is not None:
            return FAILED
        # A forced stop has the exit code of the signal, as in a shell.
        if self._is_forced and self._last_signal is not None:
            return 128 + self._last_signal
        return RELEASED if worker.released else OK

    def _print_phase(self, phase: str, running: Sequence[JobRecord]) -> None:
        if phase == "draining" and not self.is_requested:
            print_stderr("drain ordered by the store: stopping, as on SIGTERM")
            self._force_after(self._drain)
        print_stderr(*describe_phase(phase, running, self._drain))


def _summary(worker: Worker) -> str:
    return (
        f"worker {worker.id}: {format_count(worker.finished, 'job')} ended, "
        f"{worker.released} returned to the queue"
    )


def _has_threads() -> bool:
    """Whether there are threads that the interpreter would wait for at exit."""
    main = threading.main_thread()
    return any(not each.daemon for each in threading.enumerate() if each is not main)


def describe_phase(phase: str, running: Sequence[JobRecord], drain: float) -> list[str]:
    """Return lines that describe a phase of the shutdown, and name the jobs that still run."""
    jobs = format_count(len(running), "running job")
    match phase:
        case "draining":
            text = f"draining: no new jobs; {jobs}, up to {drain:g} s to finish"
        case "stopping":
            text = f"stopping {jobs}, up to {SHUTDOWN_GRACE:g} s to stop"
        case "leaving":
            text = f"exiting with {jobs} that did not stop; returning them to the queue"
        case "quiet":
            text = f"quiet: no new jobs until SIGCONT or `conveyor workers resume`; {jobs}"
        case _:
            text = phase
    named = [_describe_job(job) for job in running[:MOST_NAMED]]
    more = [f"  and {len(running) - MOST_NAMED} more"] if len(running) > MOST_NAMED else []
    return [text, *named, *more]


def _describe_job(job: JobRecord) -> str:
    since = format_duration(time.time() - job.started_at) if job.started_at else "-"
    return f"  {job.id} {job.task}, running for {since}"
