"""`Conveyor`: declare queues and tasks, enqueue jobs, create workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, Unpack

import msgspec

from ..core import cron
from ..core.clock import Clock
from ..core.codec import ResultCodec
from ..core.command import command_task, validate_command
from ..core.duration import parse_duration
from ..core.hooks import Hooks
from ..core.job import JobRecord, Missed, NewJob, ScheduleInfo, State, WhenFull
from ..core.names import validate_name
from ..core.pending import run_sync
from ..core.task import Task
from ..errors import UsageError
from ..maintenance.schedule_ticker import Schedule
from ..settings import Settings, StoreChoice
from ..store.call_style import AsyncCalls, BlockingCalls, CallStyle
from ..store.page_walk import read_jobs
from ..store.protocol import Store
from ..worker.event_loop import run_in_event_loop
from ..worker.options import DRAIN, parse_worker_options
from ..worker.worker import Worker
from .call_executor import CallExecutor
from .call_key import keyed
from .declared_store import DeclaredStore
from .embedded import EmbeddedWorkers, run_until_idle
from .hook_decorators import AroundDecorator, EventSubscriber
from .job_filter import job_filter
from .job_handle import Job
from .named_task import enqueue_by_name
from .options import EnqueueOptions, JobOptions, check_schedulable, merge_options
from .producer import Producer, QueueRule
from .queue import Queue, check_rule
from .task_function import TaskDecorator, TaskFunction, Tasks

P = ParamSpec("P")
T = TypeVar("T")


class Conveyor(Executor):
    """A job queue: it declares queues and tasks, enqueues jobs, makes workers, and is an Executor.

    `url` is "memory:", a path, "sqlite:///path" (with "?durability=normal" for faster commits that
    a power cut may lose), "postgresql://user@host/db", or the address of a server,
    "https://jobs.example.com", with its `token`. `CONVEYOR_URL` and the option `--url` of commands
    override it, except for "memory:". Default: the configured `url`, or "jobs.db" in the current
    directory. The store is opened at the first use. `store` and `clock` are for tests. `args_limit`
    is the maximum size of a job's arguments, in bytes of JSON (default 1 MiB).
    """

    def __init__(
        self,
        url: str | Path | None = None,
        *,
        token: str | None = None,
        store: Store | None = None,
        clock: Clock | None = None,
        args_limit: int | None = None,
    ) -> None:
        if store is not None and (url is not None or clock is not None):
            raise UsageError("use store, or url and clock, not both")
        # Not every caller has a type checker.
        if not isinstance(url, str | Path | None):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(
                f"url must be a string or a path, got {url!r}; pass a store as store=..."
            )
        self._declared = DeclaredStore(None if url is None else str(url), token, store, clock)
        self._producer = Producer(self._declared.open, args_limit=args_limit)
        self.hooks: Hooks = Hooks()
        self.on: EventSubscriber = EventSubscriber(self.hooks)
        self.around: AroundDecorator = AroundDecorator(self.hooks)
        self._tasks = Tasks(self._producer, self.hooks.arounds)
        self._tasks.add(command_task())
        self._queues: dict[str, Queue] = {}
        self._schedules: dict[str, Schedule] = {}
        self._embedded = EmbeddedWorkers()
        self._calls = CallExecutor(self._producer, self._tasks, self.worker)
        self.task: TaskDecorator = self.queue("default").task

    def __repr__(self) -> str:
        return f"<Conveyor {self._declared.url or ''}>"

    # -- queues, tasks and jobs ----------------------------------------------------------------

    @property
    def store(self) -> Store:
        """The store; the first access opens it."""
        return self._producer.store

    @property
    def url(self) -> str:
        """The store's address."""
        return self.store.url

    def divert(self, url: str | Path, *, token: str | None = None) -> None:
        """Use the store at `url` instead of the declared one, and run no schedules.

        For drills and agents. UsageError if the declared store is already open.
        """
        self._producer.divert(self._declared.open)
        self._declared.divert(str(url), token)
        self._schedules.clear()

    def choose_store(self, settings: Settings) -> StoreChoice:
        """Return which store is opened under these settings, and where it is named.

        For commands. UsageError if one is configured that cannot override the declared one.
        """
        return self._declared.choose(settings)

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The registered tasks, by name."""
        return self._tasks.by_name

    @property
    def functions(self) -> Mapping[str, TaskFunction[..., Any, Any]]:
        """The decorated functions, by task name."""
        return self._tasks.functions

    @property
    def schedules(self) -> Sequence[Schedule]:
        """The declared schedules."""
        return tuple(self._schedules.values())

    @property
    def queues(self) -> Mapping[str, Queue]:
        """The declared queues, by name."""
        return self._queues

    def queue(
        self, name: str, *, capacity: int | None = None, when_full: WhenFull = "wait"
    ) -> Queue:
        """Declare a queue, or return the declared one.

        `capacity` is how many jobs may wait (scheduled, available, retryable): None for no limit;
        with 0, enqueue returns only once a worker has taken the job. When the queue is full,
        `when_full="wait"` waits for room, "refuse" raises QueueFullError, and "drop_oldest"
        discards the oldest available job. UsageError if the queue was declared differently.
        """
        known = self._queues.get(name)
        rule = QueueRule(validate_name(name), capacity, when_full)
        if known is not None:
            if capacity is None and when_full == "wait":
                return known
            if known.rule != rule:
                raise UsageError(
                    f"queue {name!r} is already declared with other options: {known.rule}"
                )
            return known
        check_rule(rule)
        self._producer.queues[name] = rule
        self._queues[name] = Queue(rule, self._producer, self._tasks)
        return self._queues[name]

    def job(self, job_id: str) -> Job[Any]:
        """Return the handle of the job with this id; NotFoundError if there is none."""
        return self._handle(self.store.get(job_id).result())

    async def ajob(self, job_id: str) -> Job[Any]:
        """`job` for coroutines."""
        return self._handle(await self.store.get(job_id))

    def jobs(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        states: Iterable[State | str] = (),
        before: int | None = None,
        limit: int = 100,
    ) -> list[JobRecord]:
        """Return at most `limit` (1 to 1,000) jobs, newest first, with all their fields.

        For the next page pass the last job's `seq` as `before`.
        """
        which = job_filter(queue=queue, task=task, states=states, before=before, limit=limit)
        return run_sync(read_jobs(BlockingCalls(), self.store, which, limit=limit))

    async def ajobs(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        states: Iterable[State | str] = (),
        before: int | None = None,
        limit: int = 100,
    ) -> list[JobRecord]:
        """`jobs` for coroutines."""
        which = job_filter(queue=queue, task=task, states=states, before=before, limit=limit)
        return await read_jobs(AsyncCalls(), self.store, which, limit=limit)

    def _handle(self, record: JobRecord) -> Job[Any]:
        task = self.tasks.get(record.task)
        return self._producer.job(record, task.results if task else ResultCodec())

    # -- other ways to enqueue -----------------------------------------------------------------

    def send(
        self,
        task: str,
        arguments: Mapping[str, Any] | tuple[Any, ...] = (),
        /,
        **options: Unpack[JobOptions],
    ) -> Job[Any]:
        """Enqueue a job of the task with this name: `belt.send("app.resize", {"width": 640})`.

        The task need not be declared here: then the arguments are given by name, only the worker
        checks them, and queue and options are those that a worker or server has declared for the
        task, unless they are given. If the task is declared
        here, this is the same as `enqueue` of its function. Options as for `TaskFunction.using`.
        Raises as `enqueue` does.
        """
        function = self.functions.get(task)
        if function is not None:
            [job] = function.using(**options).enqueue_many([arguments])
            return job
        return run_sync(self._send(BlockingCalls(), task, arguments, options))

    async def asend(
        self,
        task: str,
        arguments: Mapping[str, Any] | tuple[Any, ...] = (),
        /,
        **options: Unpack[JobOptions],
    ) -> Job[Any]:
        """`send` for coroutines."""
        function = self.functions.get(task)
        if function is not None:
            [job] = await function.using(**options).aenqueue_many([arguments])
            return job
        return await self._send(AsyncCalls(), task, arguments, options)

    async def _send(
        self, call_style: CallStyle, task: str, arguments: object, options: JobOptions
    ) -> Job[Any]:
        return await enqueue_by_name(self._producer, call_style, task, arguments, options)

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
        """Return a task that runs a command: `belt.command("make", "-j4", cwd="/src").enqueue()`.

        The command runs without a shell, in a session of its own. `env` is added to the worker's
        environment (as far as its `commands` rules pass that on), or replaces it with
        inherit_env=False. An exit code that is not in `ok_exit_codes` is a failure; the result is
        {"exit_code": n}. With `files` (paths by name) or `artifacts` (patterns) it runs in a
        directory of its own. UsageError for a wrong argument.
        """
        described = validate_command(
            argv, env=env, inherit_env=inherit_env, cwd=cwd, ok_exit_codes=ok_exit_codes
        )
        return TaskFunction(
            self._producer,
            self.tasks[command_task().name],
            merge_options(
                EnqueueOptions(queue=validate_name(queue)),
                {"files": files or {}, "artifacts": artifacts},
            ),
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
        """Enqueue a task by a cron rule: a decorator to put above `@queue.task`.

        `rule` is five cron fields, an alias like "@daily", or an interval like "every 5m".
        `missed` is for ticks at which no worker ran: "skip" drops them, "once" runs one job for
        all, "all" runs one for each (the newest 1,000). No tick runs twice. `args` and `kwargs`
        are the arguments of each job. UsageError for a wrong rule, argument or a name in use.
        """
        cron.parse(rule, timezone)  # a wrong rule fails here, not at its first tick
        if missed not in ("skip", "once", "all"):
            raise UsageError(f"missed must be 'skip', 'once' or 'all', got {missed!r}")

        def decorate(function: TaskFunction[P, T, Any]) -> TaskFunction[P, T, Any]:
            if not isinstance(function, TaskFunction):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise UsageError(f"put @belt.schedule above @queue.task: {function!r} is no task")
            task, chosen = function.task, check_schedulable(function.enqueue_options)
            payload = task.args.encode(tuple(args), dict(kwargs or {}))
            chosen = keyed(chosen, payload)
            called = name or task.name
            if called in self._schedules:
                raise UsageError(
                    f"two schedules are named {called!r}; give one of them another name="
                )

            def tick() -> NewJob:
                return self._producer.new_jobs(task, [(chosen, payload)])[0]

            self._schedules[called] = Schedule(
                ScheduleInfo(name=called, cron=rule, timezone=timezone, missed=missed, next_at=0.0),
                tick,
            )
            return function

        return decorate

    # -- the Executor --------------------------------------------------------------------------

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn(*args, **kwargs)` as a job and return its Future.

        The first call starts a worker for such calls in a thread of this process. Arguments and
        result must be JSON, as for any job. Unless the store is in memory, `fn` must be
        importable by name. The Future's `cancel()` cancels the job. RuntimeError after `shutdown`.
        """
        return self._calls.submit(fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as in Executor
        """Stop accepting calls, and close the store; with `wait`, block until all calls are done.

        `cancel_futures` cancels the calls that have not begun.
        """
        if self._calls.shutdown(wait=wait, cancel=cancel_futures):
            self.close()

    def close(self) -> None:
        """Close the store if it is open. May be called twice."""
        self._producer.close()

    # -- workers -------------------------------------------------------------------------------

    def worker(self, **options: Any) -> Worker:
        """Create a worker for the declared tasks; `await worker.run()` runs it until it is drained.

        Options are the fields of `WorkerOptions`; `queues` are names or (name, weight) pairs, by
        default all declared queues. UsageError for a wrong option.
        """
        if options.get("queues") is None:
            options["queues"] = tuple(self._queues)
        chosen = parse_worker_options(options)
        return self._embedded.add(
            Worker.assemble(
                store=self.store,
                tasks=self.tasks,
                options=chosen,
                schedules=self.schedules,
                hooks=self.hooks,
            )
        )

    def start(self, **options: Any) -> Worker:
        """Run a worker in a thread of this process until `stop`; options as for `worker`.

        For programs whose main thread does something else. The worker handles no signals.
        """
        return self._embedded.start(lambda: self.worker(**options))

    def stop(self, timeout: float = DRAIN) -> bool:
        """Stop all workers of this Conveyor in this process, and block until they have ended.

        They stop claiming jobs, and running jobs may continue for `timeout` seconds. Jobs still
        running are then stopped within 4 s more. They are returned to the queue, or cancelled if
        they have on_shutdown="cancel". Returns False if the code of a job still runs (a thread that
        ignores cancellation); that job is returned when this process ends. Enqueueing continues.
        UsageError in the event loop of a worker: use `await astop()` there.
        """
        return self._embedded.stop(parse_duration(timeout, name="timeout"))

    async def astop(self, timeout: float = DRAIN) -> bool:
        """`stop` for coroutines."""
        return await self._embedded.astop(parse_duration(timeout, name="timeout"))

    def work(self, *, until_idle: bool = True, timeout: float | None = None, **options: Any) -> int:
        """Run a worker in this thread, blocking, and return how many attempts ended.

        With `until_idle` it returns once this worker has no job left that it could run now,
        including retries without a pause. It always returns after `timeout` seconds, if given.
        For scripts and tests; other options as for `worker`.
        """
        if timeout is not None:
            timeout = parse_duration(timeout, name="timeout")
        return run_in_event_loop(
            run_until_idle(lambda: self.worker(**options), until_idle=until_idle, timeout=timeout)
        )
