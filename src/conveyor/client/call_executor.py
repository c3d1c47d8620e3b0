"""The calls of `Conveyor.submit`: each is a job, run by a worker of this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from ..store.call_style import AsyncCalls
from ..worker.worker import Worker
from .embedded import WorkerThread
from .futures import JobFuture, call_task
from .options import EnqueueOptions
from .producer import Producer
from .task_function import Tasks

T = TypeVar("T")

CALLS = "calls"


class CallExecutor:
    """Enqueues calls, and starts a worker for them at the first one."""

    def __init__(
        self, producer: Producer, tasks: Tasks, make_worker: Callable[..., Worker]
    ) -> None:
        self._producer = producer
        self._tasks = tasks
        self._make_worker = make_worker
        self._thread: WorkerThread | None = None
        self._shut = False

    def submit(
        self, function: Callable[..., T], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Future[T]:
        """Enqueue a call; RuntimeError after `shutdown`."""
        if self._shut:
            raise RuntimeError("cannot submit after shutdown")
        known = self._tasks.by_name
        task = call_task(function, known, durable=self._producer.store.is_durable)
        if task.name not in known:
            task = self._tasks.add(task)
        thread = self._start_thread()
        payload = task.args.encode(args, kwargs, limit=self._producer.args_limit)
        chosen = EnqueueOptions(queue=CALLS)
        future: JobFuture[T] = JobFuture()
        work = self._producer.enqueue(AsyncCalls(), task, [(chosen, payload)])
        future.follow(work, thread)
        return future

    def shutdown(self, *, wait: bool, cancel: bool) -> bool:
        """Accept no more calls; return whether the store can be closed.

        With `wait`, block until all calls are done. `cancel` cancels those that have not begun.
        """
        self._shut = True
        if self._thread is not None:
            self._thread.finish(wait=wait, cancel=cancel)
        return wait or self._thread is None

    def _start_thread(self) -> WorkerThread:
        if self._thread is None or self._thread.worker.ended.is_set():
            self._thread = WorkerThread(lambda: self._make_worker(queues=[CALLS], app=CALLS))
        return self._thread
