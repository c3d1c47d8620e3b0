"""A worker in a thread of this process, with an event loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from ..worker.worker import Worker

T = TypeVar("T")

START = 30.0


class Call(Protocol):
    """A submitted call that somebody may want to give up."""

    def cancel_if_waiting(self) -> None:
        """Cancel it if none of its code has run yet."""


class Background:
    """Starts at once; `finish` ends it. The thread is a daemon, so a forgotten one ends too."""

    def __init__(self, make_worker: Callable[[], Worker]) -> None:
        self._make_worker = make_worker
        self._started: Future[Worker] = Future()
        self._loop = asyncio.new_event_loop()
        self._followed: dict[Future[None], Call] = {}
        self._thread = threading.Thread(
            target=self._main, name="conveyor-background-worker", daemon=True
        )
        self._thread.start()
        self.worker = self._started.result(START)

    def follow(self, work: Coroutine[Any, Any, None], followed: Call) -> None:
        """Run a coroutine that completes `followed` in the worker's loop; `finish` waits for it."""
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._followed[running] = followed
        running.add_done_callback(lambda done: self._followed.pop(done, None))

    def finish(self, *, wait: bool, cancel: bool) -> None:
        """End the worker once everything that was submitted here is done; block for it if told.

        `cancel` cancels what has not begun.
        """
        if cancel:
            for future in list(self._followed.values()):
                future.cancel_if_waiting()
        ending = threading.Thread(target=self._finish, name="conveyor-background-end", daemon=True)
        ending.start()
        if wait:
            ending.join()

    def _finish(self) -> None:
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
        await worker.run()
        followers = asyncio.all_tasks() - {asyncio.current_task()}
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)
