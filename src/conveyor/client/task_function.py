"""The object that replaces a decorated function: callable as before, and enqueueable."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, Unpack, cast, overload

from ..core.around import Around
from ..core.names import validate_name
from ..core.pending import run_sync
from ..core.storable import RESERVED
from ..core.task import Kind, Task, task
from ..errors import UsageError
from ..store.call_style import AsyncCalls, BlockingCalls, CallStyle
from .call_key import keyed, with_defaults
from .job_handle import Job
from .options import EnqueueOptions, JobOptions, TaskOptions, merge_options
from .producer import Call, Producer

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")

CALL_FORMS = "a call is a tuple like ('ann',), a mapping like {'to': 'ann'}, or bind('ann')"


@dataclass(frozen=True, slots=True)
class BoundCall(Generic[R]):
    """A call with its own options, for `enqueue_many`. Made by `TaskFunction.bind`."""

    task: Task
    enqueue_options: EnqueueOptions
    payload: bytes


AnyCall = tuple[Any, ...] | Mapping[str, Any] | BoundCall[R]


class TaskFunction(Generic[P, R, C]):
    """A function that can be called as before and enqueued with the same arguments.

    `P` are its parameters, `R` is the type of the job's result, `C` that of an ordinary call.
    """

    def __init__(
        self, producer: Producer, task: Task, chosen: EnqueueOptions, preset: bytes | None = None
    ) -> None:
        self.task = task
        self.enqueue_options = chosen
        self._producer = producer
        self._preset = preset
        # What is said about a key without one is wrong, which shows at the call.
        self._has_key = chosen.key is not None or chosen.options.on_conflict != "keep"
        update_wrapper(cast("Callable[..., Any]", self), task.function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> C:
        """Call the function directly, without a queue."""
        return cast("C", self.task.function(*args, **kwargs))

    def __repr__(self) -> str:
        return f"<task {self.task.name}>"

    def using(self, **options: Unpack[JobOptions]) -> TaskFunction[P, R, C]:
        """Return the same task with other options for the jobs enqueued through it.

        When: `delay` (seconds or "5m"), `run_at` and `expires_at` (datetime with time zone or Unix
        seconds), `priority` (higher first). Where: `queue`, `requires` (labels). Room: `wait`
        (longest wait, a duration), `when_full`. Once: `key`, in which {argument} stands for the
        value of an argument, with `key_until` ("final", "pruned") and `on_conflict` ("keep",
        "replace", "postpone" with `postpone_limit`, "join"): what a call does to the job that
        holds its key.
        Attempts: `retries`, `backoff`, `retry_on`, `timeout`, `grace`, `crash_limit`,
        `on_shutdown`. Data: `files` (paths by name), `artifacts` (patterns), `artifact_limit` and
        `output_limit` (bytes), `meta`. Afterwards: `on_discarded` and `on_finished`, tasks
        that get an `EndedJob`. Together with your writes: `connection`, one of psycopg,
        psycopg2, SQLAlchemy, asyncpg or Django to the PostgreSQL database that has the jobs: the
        job exists if and only if its transaction commits. An async connection is for the methods
        with the prefix `a`. A full queue raises QueueFullError; `wait`, `when_full="wait"`, a queue
        with capacity 0, and a bounded queue above READ COMMITTED raise UsageError.
        Raises UsageError for an unknown option or a wrong value.
        """
        chosen = merge_options(self.enqueue_options, options)
        if self.task.kind == "thread" and chosen.options.timeout is not None:
            raise UsageError(
                f"{self.task.name} runs in a thread, which cannot be stopped after a timeout: "
                "set the timeout on the task itself (it then runs in a process), or add "
                "run='process' there"
            )
        chosen = with_defaults(self.task, chosen)
        return TaskFunction(self._producer, self.task, chosen, self._preset)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Enqueue a call and return its job. Blocks while the queue is full, if it may wait.

        Raises UsageError or EncodingError for wrong arguments, QueueFullError if there is no room,
        UnavailableError if the store cannot be reached.
        """
        [job] = run_sync(self._enqueue(BlockingCalls(), [self._call(args, kwargs)]))
        return job

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """`enqueue` for coroutines.

        When it is cancelled, it waits for the store, up to 2 s: once it ends, the job is either
        enqueued or never will be.
        """
        [job] = await self._enqueue(AsyncCalls(), [self._call(args, kwargs)])
        return job

    def bind(self, *args: P.args, **kwargs: P.kwargs) -> BoundCall[R]:
        """Return a call with this task's options, to be enqueued by `enqueue_many`.

        Raises UsageError or EncodingError for wrong arguments.
        """
        return BoundCall(self.task, *self._call(args, kwargs))

    def enqueue_many(self, calls: Iterable[AnyCall[R]]) -> list[Job[R]]:
        """Enqueue at most 100,000 calls in one transaction: all of them or none.

        A call is a tuple of positional arguments, a mapping of keyword arguments, or what `bind`
        returns, which carries options of its own: `[send.using(key=to).bind(to) for to in names]`.
        Together they must fit into the queue's capacity. Raises as `enqueue` does.
        """
        return run_sync(self._enqueue(BlockingCalls(), self._encode_many(calls)))

    async def aenqueue_many(self, calls: Iterable[AnyCall[R]]) -> list[Job[R]]:
        """`enqueue_many` for coroutines."""
        return await self._enqueue(AsyncCalls(), self._encode_many(calls))

    async def _enqueue(self, call_style: CallStyle, calls: list[Call]) -> list[Job[R]]:
        return await self._producer.enqueue(call_style, self.task, calls)

    def _call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        chosen, payload = self.enqueue_options, self._encode(args, kwargs)
        return (keyed(chosen, payload) if self._has_key else chosen), payload

    def _encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        if self._preset is not None:
            return self._preset
        return self.task.args.encode(args, kwargs, limit=self._producer.args_limit)

    def _encode_many(self, calls: Iterable[AnyCall[R]]) -> list[Call]:
        if isinstance(calls, str | bytes | Mapping):
            raise UsageError(f"enqueue_many takes a list of calls, got {calls!r}; {CALL_FORMS}")
        encode, options = self._encode, self.enqueue_options
        encoded = [
            # The usual case, without a further call.
            (options, encode(call, {}))
            if type(call) is tuple and not self._has_key
            else self._encode_any(call)
            for call in calls
        ]
        key = options.options.key
        if key is not None and sum(chosen is options for chosen, _ in encoded) > 1:
            raise UsageError(
                f"key {key!r} cannot name several jobs: a key is for one job; "
                "give each call its own with using(key=...).bind(...)"
            )
        return encoded

    def _encode_any(self, call: object) -> Call:
        match call:
            case tuple() | list():
                return self._call(tuple(cast("list[Any]", call)), {})
            case BoundCall():
                return self._check_bound(cast("BoundCall[Any]", call)), call.payload
            case Mapping():
                return self._call((), cast("Mapping[str, Any]", call))
            case _:
                raise UsageError(f"{call!r} is no call of {self.task.name}; {CALL_FORMS}")

    def _check_bound(self, call: BoundCall[Any]) -> EnqueueOptions:
        """Return the options of a bound call if it can be enqueued together with the others."""
        ours, theirs = self.enqueue_options, call.enqueue_options
        if call.task is not self.task:
            raise UsageError(
                f"a call of {call.task.name} cannot be enqueued as {self.task.name}: "
                "enqueue the calls of each task separately"
            )
        for name in ("queue", "wait", "when_full", "connection"):
            if getattr(ours, name) != getattr(theirs, name):
                raise UsageError(
                    f"calls that are enqueued together have the same {name}, got "
                    f"{getattr(theirs, name)!r} besides {getattr(ours, name)!r}: "
                    f"write using({name}=...).enqueue_many(...), with bind() of the same"
                )
        return theirs


async def enqueue_or_nothing(task: TaskFunction[[], R, Any]) -> Job[R]:
    """Enqueue a call without arguments. If this is cancelled, no job is left."""
    call = task._call((), {})  # noqa: SLF001 - as its methods do
    [job] = await task._producer.enqueue(AsyncCalls(), task.task, [call], keep=False)  # noqa: SLF001 - as its methods do
    return job


class Decorator(Protocol):
    """The decorator that `task(...)` with options returns."""

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> TaskFunction[P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> TaskFunction[P, R, R]: ...


class Tasks:
    """The tasks of one Conveyor by name. `bind` makes the decorator of one queue."""

    def __init__(self, producer: Producer, arounds: Sequence[Around]) -> None:
        self.by_name: dict[str, Task] = {}
        self._arounds = arounds
        self.functions: dict[str, TaskFunction[..., Any, Any]] = {}
        self._producer = producer

    def add(self, added: Task) -> Task:
        """Register a task and return it; UsageError if another function already has its name."""
        known = self.by_name.get(added.name)
        if known is not None and known.where != added.where:
            raise UsageError(
                f"two tasks are named {added.name!r}: {known.where} and {added.where}; "
                "give one of them another name="
            )
        self.by_name[added.name] = registered = replace(added, arounds=self._arounds)
        return registered

    def bind(self, queue: str) -> TaskDecorator:
        """Return the `task` decorator of a queue."""
        return TaskDecorator(self, self._producer, queue)


class TaskDecorator:
    """`@queue.task` or `@queue.task(timeout=60, retries=3)`."""

    def __init__(self, tasks: Tasks, producer: Producer, queue: str) -> None:
        self._tasks = tasks
        self._producer = producer
        self._queue = queue

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> TaskFunction[P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> TaskFunction[P, R, R]: ...
    @overload
    def __call__(
        self,
        *,
        name: str | None = None,
        run: Kind | None = None,
        **options: Unpack[TaskOptions],
    ) -> Decorator: ...
    def __call__(self, function: Any = None, /, **options: Any) -> Any:  # type: ignore[misc]  # mypy does not see that **Any takes what Unpack names
        """Make a function a task of this queue.

        `name` identifies the task in stored jobs, so keep it stable; default: module and qualified
        name. `run` is "coroutine", "thread" or "process"; default: a coroutine for `async def`, a
        thread for `def`, a process for `def` with a timeout. Other options: see
        `TaskFunction.using`. Raises UsageError for a wrong option or a name that is taken.
        """
        name, run = options.pop("name", None), options.pop("run", None)
        chosen = merge_options(EnqueueOptions(queue=self._queue), cast("JobOptions", options))
        if chosen.connection is not None:
            raise UsageError("a connection is for one transaction: use task.using(connection=...)")

        def decorate(function: Callable[..., Any]) -> TaskFunction[..., Any, Any]:
            if name is not None and validate_name(name).startswith(RESERVED):
                raise UsageError(f"the task name {name!r} is reserved: it starts with {RESERVED!r}")
            made = task(
                function,
                name=name,
                run=run,
                options=chosen.options,
                priority=chosen.priority,
                queue=self._queue,
                callbacks=chosen.callbacks,
            )
            own = with_defaults(made, chosen)
            made = self._tasks.add(replace(made, key=own.key))
            callable_task = TaskFunction[..., Any, Any](self._producer, made, own)
            self._tasks.functions[made.name] = callable_task
            return callable_task

        return decorate if function is None else decorate(function)
