"""Workers inside this process: each in a thread with its own event loop, stopped together."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol
from weakref import WeakSet

from ..errors import UsageError
from ..worker.event_loop import new_event_loop
from ..worker.shutdown import LEAVE, SHUTDOWN_GRACE
from ..worker.worker import Worker

START_TIMEOUT = 30.0
# What a worker may need beyond its deadline to leave, in seconds: last commits, stopping threads.
MARGIN = 5.0


class SubmittedCall(Protocol):
    """A submitted call that can be cancelled before it runs."""

    def cancel_if_waiting(self) -> None:
        """Cancel it if none of its code has run yet."""


class WorkerThread:
    """A worker in a daemon thread with its own event loop. It starts at once; `finish` ends it."""

    def __init__(self, make_worker: Callable[[], Worker]) -> None:
        self._make_worker = make_worker
        self._started: Future[Worker] = Future()
        self._loop = new_event_loop()
        self._followed: dict[Future[None], SubmittedCall] = {}
        self._thread = threading.Thread(
            target=self._main, name="conveyor-background-worker", daemon=True
        )
        self._thread.start()
        self.worker = self._started.result(START_TIMEOUT)

    def follow(self, work: Coroutine[Any, Any, None], call: SubmittedCall) -> Future[None]:
        """Run a coroutine that completes `call` in the worker's loop; `finish` waits for it."""
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._followed[running] = call
        running.add_done_callback(lambda done: self._followed.pop(done, None))
        return running

    def finish(self, *, wait: bool, cancel: bool) -> None:
        """End the worker once all submitted calls are done; with `wait`, block until then.

        `cancel` cancels the calls that have not begun.
        """
        if cancel:
            for call in list(self._followed.values()):
                call.cancel_if_waiting()
        ending = threading.Thread(
            target=self._drain_and_join, name="conveyor-background-end", daemon=True
        )
        ending.start()
        if wait:
            ending.join()

    def _drain_and_join(self) -> None:
        for future in list(self._followed):
            future.exception()
        self.worker.call(self.worker.drain)
        self._thread.join()

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._run())
        finally:
            self._loop.close()

    async def _run(self) -> None:
        try:
            worker = self._make_worker()
        except BaseException as error:
            self._started.set_exception(error)
            raise
        asyncio.get_running_loop().call_soon(self._started.set_result, worker)
        try:
            await worker.run()
        finally:
            followers = asyncio.all_tasks() - {asyncio.current_task()}
            for follower in followers:
                follower.cancel()
            await asyncio.gather(*followers, return_exceptions=True)


class EmbeddedWorkers:
    """All workers that one Conveyor has made in this process."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._workers: WeakSet[Worker] = WeakSet()
        self._threads: list[WorkerThread] = []

    def add(self, worker: Worker) -> Worker:
        """Register a worker, so that `stop` stops it; it need not run yet."""
        self._of_this_process().add(worker)
        return worker

    def start(self, make_worker: Callable[[], Worker]) -> Worker:
        """Run a worker in a thread of its own."""
        started = WorkerThread(make_worker)
        self._of_this_process()
        self._threads.append(started)
        return started.worker

    def stop(self, timeout: float) -> bool:
        """Drain all workers and block until they have ended; return whether no job's code runs."""
        running = self._running()
        if _running_loop() in {worker.loop for worker in running}:
            raise UsageError(
                "stop() would block the event loop of a running worker: "
                "write `await belt.astop()` instead"
            )
        deadline = self._drain(running, timeout)
        ended = [_wait_until_ended(worker, deadline) for worker in running]
        return all(ended)

    async def astop(self, timeout: float) -> bool:
        """`stop` for coroutines, also in the loop of a worker."""
        running = self._running()
        deadline = self._drain(running, timeout)
        waits = [asyncio.to_thread(_wait_until_ended, each, deadline) for each in running]
        return all(await asyncio.gather(*waits))

    def _running(self) -> list[Worker]:
        workers = list(self._of_this_process())
        return [each for each in workers if each.loop and not each.ended.is_set()]

    def _of_this_process(self) -> WeakSet[Worker]:
        """Return the workers of this process. After a fork the earlier ones run in its parent."""
        if self._pid != os.getpid():
            self._pid, self._workers, self._threads = os.getpid(), WeakSet(), []
        return self._workers

    def _drain(self, running: Sequence[Worker], timeout: float) -> float:
        for worker in running:
            worker.call(partial(worker.drain, timeout))
        return time.monotonic() + timeout + SHUTDOWN_GRACE + LEAVE + MARGIN


async def run_until_idle(
    make_worker: Callable[[], Worker], *, until_idle: bool, timeout: float | None
) -> int:
    """Run a worker in this event loop; see `Conveyor.work`."""
    worker = make_worker()
    running = asyncio.ensure_future(worker.run())
    idle_checks = 0
    try:
        async with asyncio.timeout(timeout):
            # Checked twice, because a hint of more work may still be on its way.
            while not running.done() and idle_checks < 2:
                await asyncio.wait([running], timeout=0.01)
                idle_checks = idle_checks + 1 if until_idle and await worker.is_done() else 0
    except TimeoutError:
        pass
    finally:
        worker.drain()
        await running
    return worker.finished


def _wait_until_ended(worker: Worker, deadline: float) -> bool:
    ended = worker.ended.wait(max(0.0, deadline - time.monotonic()))
    return ended and not worker.left


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
