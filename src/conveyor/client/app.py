"""The front door: a `Conveyor` declares queues and tasks, enqueues, and makes workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import msgspec

from ..core import cron
from ..core.clock import Clock
from ..core.codec import ResultCodec
from ..core.command import checked, command_task
from ..core.job import ARGS_LIMIT, JobRecord, Missed, NewJob, ScheduleInfo, State, WhenFull
from ..core.task import Task
from ..errors import UsageError
from ..maintenance.upkeep import Schedule
from ..settings import load_settings
from ..store.ask import Awaiting
from ..store.messages import Filter
from ..store.open import open_store
from ..store.protocol import Store
from ..worker.worker import DRAIN, Worker, WorkerOptions
from .background import Background
from .embedded import Serving
from .futures import JobFuture, call_task
from .job_handle import Job
from .options import Wishes, schedulable, wish
from .options import name as valid_name
from .producer import Producer, QueueRule
from .task_function import TaskDecorator, TaskFunction, Tasks

P = ParamSpec("P")
T = TypeVar("T")

CALLS = "calls"
PAGE = 1000


class Queue:
    """A named lane for jobs, bounded if it has a capacity. `task` decorates functions for it."""

    def __init__(self, rule: QueueRule, producer: Producer, tasks: Tasks) -> None:
        self.rule = rule
        self.task: TaskDecorator = tasks.bind(rule.name)
        self._producer = producer

    def __repr__(self) -> str:
        return f"<Queue {self.name} capacity={self.capacity}>"

    @property
    def name(self) -> str:
        """The queue's name."""
        return self.rule.name

    @property
    def capacity(self) -> int | None:
        """How many jobs may wait; None for any number; 0 hands over from hand to hand."""
        return self.rule.capacity

    @property
    def depth(self) -> int:
        """How many jobs wait right now: scheduled, available and retryable ones."""
        counts = self._producer.store.counts().result()
        return next((queue.depth for queue in counts if queue.name == self.name), 0)

    def pause(self) -> None:
        """Stop handing out this queue's jobs, in every worker. Enqueueing goes on."""
        self._producer.store.set_paused(self.name, paused=True).result()

    def resume(self) -> None:
        """Hand out this queue's jobs again."""
        self._producer.store.set_paused(self.name, paused=False).result()


class Conveyor(Executor):
    """A job queue. The same object enqueues, is what a worker loads, and is an Executor.

    `url` is "memory:", a path, "sqlite:///path" (with "?durability=normal" for less), or the
    address of a server, "https://jobs.example.com", with the `token` that opens it; without one,
    the configuration says, and in the end "jobs.db" in the current directory. Nothing is opened
    before the first use. `store` and `clock` are for tests. `args_limit` is the most bytes of JSON
    the arguments of one job may take (1 MiB).
    """

    def __init__(
        self,
        url: str | Path | None = None,
        *,
        token: str | None = None,
        store: Store | None = None,
        clock: Clock | None = None,
        args_limit: int = ARGS_LIMIT,
    ) -> None:
        if store is not None and (url is not None or clock is not None):
            raise UsageError("a store brings its own url and clock: give either, not both")
        self._url = None if url is None else str(url)
        self._token = token
        self._clock = clock
        self._producer = Producer(
            self._open if store is None else lambda: store, args_limit=args_limit
        )
        self._tasks = Tasks(self._producer)
        self._tasks.add(command_task())
        self._queues: dict[str, Queue] = {}
        self._schedules: dict[str, Schedule] = {}
        self._background: Background | None = None
        self._serving = Serving()
        self._shut = False
        self.task: TaskDecorator = self.queue("default").task

    def __repr__(self) -> str:
        return f"<Conveyor {self._url or ''}>"

    # -- what there is -------------------------------------------------------------------------

    @property
    def store(self) -> Store:
        """The store; the first look opens it."""
        return self._producer.store

    @property
    def url(self) -> str:
        """The store's address."""
        return self.store.url

    def divert(self, url: str | Path, *, token: str | None = None) -> None:
        """Use the store at `url` in place of its own, and tick no schedules.

        For a rehearsal, and for an agent. UsageError when its own store is open already.
        """
        self._producer.divert(self._open)
        self._url, self._token, self._clock = str(url), token, None
        self._schedules.clear()

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The registered tasks by name."""
        return self._tasks.by_name

    @property
    def functions(self) -> Mapping[str, TaskFunction[..., Any, Any]]:
        """The decorated functions by the name of their task."""
        return self._tasks.functions

    @property
    def schedules(self) -> Sequence[Schedule]:
        """The declared schedules."""
        return tuple(self._schedules.values())

    @property
    def queues(self) -> Mapping[str, Queue]:
        """The declared queues by name."""
        return self._queues

    def queue(
        self, name: str, *, capacity: int | None = None, when_full: WhenFull = "wait"
    ) -> Queue:
        """Declare a queue, or return the one of that name.

        `capacity` bounds how many jobs wait (scheduled, available, retryable); None does not, 0
        makes enqueue return only when a worker has taken the job. `when_full`: "wait" for room,
        "refuse" with QueueFullError, or "drop_oldest" available job.
        """
        known = self._queues.get(name)
        rule = QueueRule(valid_name(name), capacity, when_full)
        if known is not None:
            if capacity is None and when_full == "wait":
                return known
            if known.rule != rule:
                raise UsageError(f"queue {name!r} was declared before, otherwise: {known.rule}")
            return known
        if capacity is not None and (isinstance(capacity, bool) or capacity < 0):
            raise UsageError(f"capacity={capacity!r}: a whole number of 0 or more, or None")
        if when_full not in ("wait", "refuse", "drop_oldest"):
            raise UsageError(f"when_full={when_full!r}: choose wait, refuse or drop_oldest")
        if when_full == "drop_oldest" and not capacity:
            raise UsageError("when_full='drop_oldest' needs a capacity of 1 or more to drop from")
        self._producer.queues[name] = rule
        self._queues[name] = Queue(rule, self._producer, self._tasks)
        return self._queues[name]

    def job(self, job_id: str) -> Job[Any]:
        """Return a handle on a job by its id; NotFoundError if there is none."""
        record = self.store.get(job_id).result()
        task = self.tasks.get(record.task)
        results = task.results if task else ResultCodec()
        return self._producer.job(job_id, results).refresh()

    def jobs(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        states: Iterable[State | str] = (),
        before: int | None = None,
        limit: int = 100,
    ) -> list[JobRecord]:
        """Return at most `limit` (1 to 1,000) jobs, newest first; page on with before=last.seq."""
        if not 1 <= limit <= PAGE:
            raise UsageError(f"limit={limit}: 1 to {PAGE}; page on with before=last.seq")
        which = Filter(queue=queue, task=task, states=frozenset(map(State, states)), before=before)
        return self.store.find(which, limit=limit).result()

    # -- other ways to enqueue -----------------------------------------------------------------

    def command(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        inherit_env: bool = True,
        cwd: str | Path | None = None,
        ok_exit_codes: Iterable[int] = (0,),
        files: Mapping[str, str | Path] | None = None,
        artifacts: Iterable[str] = (),
        queue: str = "default",
    ) -> TaskFunction[[], dict[str, int], Any]:
        """Describe a command as a job: `belt.command("make", "-j4", cwd="/src").enqueue()`.

        It runs without a shell, in a session of its own. `env` is added to the worker's
        environment (as far as its `commands` rules pass that on), or replaces it with
        inherit_env=False. Any other exit code than those in `ok_exit_codes` is a failure. The
        result is {"exit_code": n}. With `files` (paths by name) or `artifacts` (patterns) it runs
        in a folder of its own.
        """
        described = checked(
            argv, env=env, inherit_env=inherit_env, cwd=cwd, ok_exit_codes=ok_exit_codes
        )
        return TaskFunction(
            self._producer,
            self.tasks[command_task().name],
            wish(Wishes(queue=valid_name(queue)), {"files": files or {}, "artifacts": artifacts}),
            msgspec.json.encode(described),
        )

    def schedule(
        self,
        rule: str,
        *,
        name: str | None = None,
        timezone: str = "UTC",
        missed: Missed = "once",
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Callable[[TaskFunction[P, T, Any]], TaskFunction[P, T, Any]]:
        """Enqueue a task by a cron rule: put it above `@queue.task`, or call it with the task.

        `rule` is five cron fields, "@daily" and friends, or "every 5m". `missed` says what
        happens to ticks for which no worker was there: "skip" them, run "once" for all of them, or
        "all" one by one (at most 1,000). The same tick never happens twice.
        """
        cron.parse(rule, timezone)  # a bad rule shows here, not at night
        if missed not in ("skip", "once", "all"):
            raise UsageError(f"missed={missed!r}: choose 'skip', 'once' or 'all'")

        def decorate(function: TaskFunction[P, T, Any]) -> TaskFunction[P, T, Any]:
            task, wishes = function.task, schedulable(function.wishes)
            payload = task.args.encode(tuple(args), dict(kwargs or {}))
            called = name or task.name
            if called in self._schedules:
                raise UsageError(f"two schedules are named {called!r}: give one another name=")

            def tick() -> NewJob:
                return self._producer.new_jobs(task, wishes, [payload])[0]

            self._schedules[called] = Schedule(
                ScheduleInfo(name=called, cron=rule, timezone=timezone, missed=missed, next_at=0.0),
                tick,
            )
            return function

        return decorate

    # -- the Executor --------------------------------------------------------------------------

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn(*args, **kwargs)` as a job and return its Future.

        The first call starts a worker in a thread of this process, for such calls alone. Arguments
        and result are JSON like those of any job. On a store that outlives this process `fn` must
        be importable. The Future's `cancel()` cancels the job.
        """
        if self._shut:
            raise RuntimeError("cannot submit after shutdown")
        task = call_task(fn, self.tasks, durable=self.store.is_durable)
        if task.name not in self.tasks:
            self._tasks.add(task)
        background = self._start_background()
        payload = task.args.encode(args, kwargs, limit=self._producer.args_limit)
        wishes = Wishes(queue=CALLS)
        future: JobFuture[T] = JobFuture()
        work = self._producer.enqueue(Awaiting(), task, wishes, [payload])
        future.follow(work, background)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as in Executor
        """Take no more calls; with `wait`, block until the submitted ones are done.

        Closes the store. `cancel_futures` cancels the calls that have not begun.
        """
        self._shut = True
        if self._background is not None:
            self._background.finish(wait=wait, cancel=cancel_futures)
        if wait or self._background is None:
            self.close()

    def close(self) -> None:
        """Close the store, if it was opened. May be called twice."""
        self._producer.close()

    # -- workers -------------------------------------------------------------------------------

    def worker(self, **options: Any) -> Worker:
        """Make a worker for this belt's tasks; `await worker.run()` runs it until it is drained.

        Options are the fields of `WorkerOptions`; `queues` may be names or (name, weight) pairs,
        and is every declared queue by default.
        """
        given = options.pop("queues", None)
        queues = tuple(self._queues) if given is None else given
        shares = tuple((q, 1) if isinstance(q, str) else (str(q[0]), int(q[1])) for q in queues)
        try:
            chosen = WorkerOptions(queues=shares, **options)
        except TypeError as error:
            raise UsageError(f"worker: {error}") from error
        return self._serving.add(
            Worker(
                store=self.store,
                tasks=self.tasks,
                options=chosen,
                schedules=self.schedules,
            )
        )

    def start(self, **options: Any) -> Worker:
        """Run a worker in a thread of this process until `stop`; options as for `worker`.

        For a program that serves something else in its main thread. Signals stay the program's.
        """
        return self._serving.start(lambda: self.worker(**options))

    def stop(self, timeout: float = DRAIN) -> bool:
        """Stop every worker of this belt in this process, and block until they have ended.

        They take no more jobs at once and let the running ones finish for `timeout` seconds; those
        that still run are then stopped and handed back, or cancelled where they say
        on_shutdown="cancel", within 4 s more. Returns False if the code of a job runs on all the
        same (a thread that does not listen): it is handed back when this process ends. Enqueueing
        goes on. Not for the event loop of a worker: there, `await astop()`.
        """
        return self._serving.stop(timeout)

    async def astop(self, timeout: float = DRAIN) -> bool:
        """`stop` for coroutines."""
        return await self._serving.astop(timeout)

    def work(self, *, until_idle: bool = True, timeout: float | None = None, **options: Any) -> int:
        """Run a worker here and now, blocking; returns how many attempts ended.

        With `until_idle` it returns when there is nothing left that this worker could run now,
        retries with no pause before them included; `timeout`, in seconds, bounds it in any case.
        For scripts and tests; other options as for `worker`.
        """
        return asyncio.run(self._work(until_idle, timeout, options))

    async def _work(
        self,
        until_idle: bool,  # noqa: FBT001 - private
        timeout: float | None,
        options: dict[str, Any],
    ) -> int:
        worker = self.worker(**options)
        running = asyncio.ensure_future(worker.run())
        calm = 0
        try:
            async with asyncio.timeout(timeout):
                # Seen twice, because a hint of more work may be on its way at the first look.
                while not running.done() and calm < 2:
                    await asyncio.wait([running], timeout=0.01)
                    calm = calm + 1 if until_idle and await worker.is_done() else 0
        except TimeoutError:
            pass
        finally:
            worker.drain()
            await running
        return worker.finished

    def _start_background(self) -> Background:
        if self._background is None or self._background.worker.ended.is_set():
            self._background = Background(lambda: self.worker(queues=[CALLS], app=CALLS))
        return self._background

    def _open(self) -> Store:
        url = self._url if self._url is not None else str(load_settings()["url"])
        return open_store(url, self._clock, self._token)
