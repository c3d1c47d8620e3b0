"""The workers of one belt in this process: those that were started here are stopped together."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from weakref import WeakSet

from ..errors import UsageError
from ..worker.worker import LEAVE, SHUTDOWN_GRACE, Worker
from .background import Background

# What a worker may need beyond its deadline to leave: the last commits, and letting threads go.
MARGIN = 5.0


class Serving:
    """Knows a belt's workers."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._workers: WeakSet[Worker] = WeakSet()
        self._threads: list[Background] = []

    def add(self, worker: Worker) -> Worker:
        """Know one more; it need not run yet."""
        self._here().add(worker)
        return worker

    def start(self, make_worker: Callable[[], Worker]) -> Worker:
        """Run a worker in a thread of its own."""
        started = Background(make_worker)
        self._here()
        self._threads.append(started)
        return started.worker

    def stop(self, timeout: float) -> bool:
        """Drain them all and block until they have ended. Returns whether no job's code runs."""
        running = self._running()
        if _running_loop() in {worker.loop for worker in running}:
            raise UsageError(
                "stop() was called in the event loop of a worker, which it would block: "
                "write `await belt.astop()`"
            )
        deadline = self._drain(running, timeout)
        ended = [_ended(worker, deadline) for worker in running]
        return all(ended)

    async def astop(self, timeout: float) -> bool:
        """`stop` for coroutines, also in the loop of a worker."""
        running = self._running()
        deadline = self._drain(running, timeout)
        waits = [asyncio.to_thread(_ended, each, deadline) for each in running]
        return all(await asyncio.gather(*waits))

    def _running(self) -> list[Worker]:
        return [each for each in list(self._here()) if each.loop and not each.ended.is_set()]

    def _here(self) -> WeakSet[Worker]:
        """Return the workers of this process. Those it had before a fork are in its parent."""
        if self._pid != os.getpid():
            self._pid, self._workers, self._threads = os.getpid(), WeakSet(), []
        return self._workers

    def _drain(self, running: Sequence[Worker], timeout: float) -> float:
        for worker in running:
            worker.call(partial(worker.drain, timeout))
        return time.monotonic() + timeout + SHUTDOWN_GRACE + LEAVE + MARGIN


def _ended(worker: Worker, deadline: float) -> bool:
    ended = worker.ended.wait(max(0.0, deadline - time.monotonic()))
    return ended and not worker.left


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
