"""Turns calls into new jobs and puts them into the store of one Conveyor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ..core.bounds import checked_integer
from ..core.codec import ResultCodec
from ..core.command import require_command_label
from ..core.ids import IdMaker
from ..core.job import JobRecord, NewJob, WhenFull
from ..core.job_context import current_trace
from ..core.task import Task
from ..core.trace_context import TraceContext
from ..errors import UnavailableError, UsageError
from ..settings import DEFAULT, load_settings
from ..store.blobs.transfer import upload_inputs
from ..store.call_style import CallStyle
from ..store.hint_waiters import HintWaiters
from ..store.messages import Accepted
from ..store.protocol import Store
from ..system.file_threads import FileThreads
from ..tracing.active import active_spans
from .enqueue import enqueue, enqueue_within
from .job_handle import Job
from .options import EnqueueOptions

if TYPE_CHECKING:
    from ..tracing.spans import Spans

MAX_JOBS = 100_000
# The options and the encoded arguments of one job.
Call = tuple[EnqueueOptions, bytes]


class QueueRule(msgspec.Struct, frozen=True):
    """A queue's bound: how many jobs may wait (None for any number), and what happens when full."""

    name: str
    capacity: int | None = None
    when_full: WhenFull = "wait"


class Producer:
    """Opens the store at the first use and enqueues into it. Thread-safe."""

    def __init__(self, open_store: Callable[[], Store], *, args_limit: int | None = None) -> None:
        if args_limit is not None:
            try:
                checked_integer(args_limit)
            except UsageError as error:
                raise UsageError(f"args_limit {error}") from error
        self._declared_limit = args_limit
        self._args_limit: int | None = None
        self.queues: dict[str, QueueRule] = {}
        self._open = open_store
        self._ids = IdMaker()
        self._lock = threading.Lock()
        self._opened: tuple[Store, HintWaiters] | None = None
        self._closed = False
        self._file_threads = FileThreads()

    @property
    def args_limit(self) -> int:
        """The maximum size of a job's arguments: as configured, or else as declared."""
        limit = self._args_limit
        if limit is None:
            settings = load_settings()
            limit = int(settings["args_limit"])
            if self._declared_limit is not None and settings.sources["args_limit"] == DEFAULT:
                limit = self._declared_limit
            self._args_limit = limit
        return limit

    @property
    def store(self) -> Store:
        """The store; the first access opens it."""
        return self._open_once()[0]

    @property
    def hint_waiters(self) -> HintWaiters:
        """Passes the store's hints on to waiting callers."""
        return self._open_once()[1]

    def divert(self, open_store: Callable[[], Store]) -> None:
        """Use another store instead; UsageError if the first one is already open."""
        with self._lock:
            if self._opened is not None:
                raise UsageError(
                    f"the store {self._opened[0].url} is already open: "
                    "call divert() before the first use of this Conveyor"
                )
            self._open = open_store

    def close(self) -> None:
        """Close the store if it is open. May be called twice."""
        with self._lock:
            opened, self._opened, self._closed = self._opened, None, True
        if opened is not None:
            store, hint_waiters = opened
            hint_waiters.close()
            store.close()

    def job(self, record: JobRecord, results: ResultCodec) -> Job[Any]:
        """Return the handle of a job that was read."""
        return Job(
            record.id,
            store=self.store,
            hint_waiters=self.hint_waiters,
            results=results,
            record=record,
        )

    def new_jobs(self, task: Task, calls: Sequence[Call]) -> list[NewJob]:
        """Describe one job per call."""
        now = self.store.now()
        is_command = task.kind == "command"
        return [
            NewJob(
                id=self._ids.make(now),
                task=task.name,
                queue=chosen.queue or "default",
                args=payload,
                priority=chosen.priority,
                run_at=chosen.run_at,
                delay=chosen.delay,
                options=require_command_label(chosen.options) if is_command else chosen.options,
                callbacks=chosen.callbacks,
            )
            for chosen, payload in calls
        ]

    async def enqueue(
        self,
        call_style: CallStyle,
        task: Task,
        calls: Sequence[Call],
        *,
        rule: QueueRule | None = None,
        keep: bool = True,
        traced: bool = False,
    ) -> list[Job[Any]]:
        """Put jobs into the store, in one transaction, and return their handles.

        All calls name the same queue, and agree on what happens when it is full. `rule` is that of
        the queue; None: as it was declared. Unless `keep`, no job is left if the caller is stopped.
        `traced`: the jobs already have the trace that they belong to, if any.
        """
        if not calls:
            return []
        if not traced:
            spans, trace = active_spans(), current_trace()
            if spans is not None:
                return await self._enqueue_in_span(spans, call_style, task, calls, rule, keep=keep)
            if trace is not None:
                calls = with_trace(calls, trace)
        if len(calls) > MAX_JOBS:
            raise UsageError(
                f"cannot enqueue {len(calls):,} jobs at once (limit {MAX_JOBS:,}); "
                "split them into several calls"
            )
        chosen = calls[0][0]
        store, hint_waiters = self._open_once()
        if chosen.files or (len(calls) > 1 and any(each.files for each, _ in calls)):
            calls = await self._with_files(call_style, calls)
        rule = rule or self.queues.get(chosen.queue or "default", UNBOUNDED)
        new_jobs = self.new_jobs(task, calls)
        if chosen.connection is None:
            accepted = await enqueue(
                new_jobs,
                store=store,
                hint_waiters=hint_waiters,
                call_style=call_style,
                capacity=rule.capacity,
                when_full=chosen.when_full or rule.when_full,
                wait=chosen.wait,
                keep=keep,
            )
        else:
            accepted = await enqueue_within(
                chosen.connection,
                new_jobs,
                store=store,
                call_style=call_style,
                capacity=rule.capacity,
                when_full=_without_waiting(chosen, rule),
            )
        return self._handles(accepted, new_jobs, task.results)

    async def _enqueue_in_span(
        self,
        spans: Spans,
        call_style: CallStyle,
        task: Task,
        calls: Sequence[Call],
        rule: QueueRule | None,
        *,
        keep: bool,
    ) -> list[Job[Any]]:
        """Enqueue jobs that carry the context of a span, which lasts until they are accepted."""
        queue = calls[0][0].queue or "default"
        span = spans.sending(task=task.name, queue=queue, count=len(calls))
        if span.trace is not None:
            calls = with_trace(calls, span.trace)
        try:
            jobs = await self.enqueue(call_style, task, calls, rule=rule, keep=keep, traced=True)
        except BaseException as error:
            span.end(error)
            raise
        if len(jobs) == 1:
            span.accepted(jobs[0].id)
        span.end()
        return jobs

    def _handles(
        self, accepted: Accepted, new_jobs: Sequence[NewJob], results: ResultCodec
    ) -> list[Job[Any]]:
        store, hint_waiters = self._open_once()
        if not accepted.existing:
            return [
                Job(job_id, store=store, hint_waiters=hint_waiters, results=results)
                for job_id in accepted.ids
            ]
        replaced = frozenset(accepted.replaced)
        return [
            Job(
                job_id,
                store=store,
                hint_waiters=hint_waiters,
                results=results,
                existing=job_id != new.id,
                replaced=job_id in replaced,
            )
            for job_id, new in zip(accepted.ids, new_jobs, strict=True)
        ]

    async def _with_files(self, call_style: CallStyle, calls: Sequence[Call]) -> list[Call]:
        """Upload the files, and return the calls with the names and digests of their files."""
        done: dict[int, EnqueueOptions] = {}  # calls usually share their options
        for chosen, _ in calls:
            if id(chosen) not in done:
                sent = await upload_inputs(
                    chosen.files,
                    store=self.store,
                    call_style=call_style,
                    threads=self._file_threads,
                )
                options = msgspec.structs.replace(chosen.options, files=sent)
                done[id(chosen)] = msgspec.structs.replace(chosen, options=options)
        return [(done[id(chosen)], payload) for chosen, payload in calls]

    def _open_once(self) -> tuple[Store, HintWaiters]:
        opened = self._opened
        if opened is None:
            with self._lock:
                if self._closed:
                    raise UnavailableError("this Conveyor is closed; create a new one")
                if self._opened is None:
                    store = self._open()
                    self._opened = store, HintWaiters(store)
                opened = self._opened
        return opened


def with_trace(calls: Sequence[Call], trace: TraceContext) -> list[Call]:
    """Return calls whose jobs carry a trace."""
    done: dict[int, EnqueueOptions] = {}  # calls usually share their options
    for chosen, _ in calls:
        if id(chosen) not in done:
            options = msgspec.structs.replace(chosen.options, trace=trace)
            done[id(chosen)] = msgspec.structs.replace(chosen, options=options)
    return [(done[id(chosen)], payload) for chosen, payload in calls]


def _without_waiting(chosen: EnqueueOptions, rule: QueueRule) -> WhenFull:
    """Return what happens if the queue of a rule is full, within a transaction."""
    if chosen.when_full == "wait":
        raise UsageError(
            "a job cannot wait for room within a transaction (wait=, or when_full='wait'): nobody "
            "else could add to the queue meanwhile; catch QueueFullError, or enqueue without "
            "connection= after the commit"
        )
    policy = chosen.when_full or rule.when_full
    return "refuse" if policy == "wait" else policy


UNBOUNDED = QueueRule("")
