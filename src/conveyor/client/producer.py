"""The way in: turns calls into new jobs and puts them into the store of one Conveyor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ..core.codec import ResultCodec
from ..core.command import for_commands
from ..core.ids import IdMaker
from ..core.job import ARGS_LIMIT, NewJob, WhenFull
from ..core.task import Task
from ..errors import UnavailableError, UsageError
from ..store.ask import Caller, Watch
from ..store.blobs.transfer import upload_inputs
from ..store.protocol import Store
from ..system.file_threads import FileThreads
from .enqueue import enqueue
from .job_handle import Job
from .options import Wishes

MANY = 100_000


class QueueRule(msgspec.Struct, frozen=True):
    """How a queue is bounded: `capacity` jobs may wait (None: any number), and what if not."""

    name: str
    capacity: int | None = None
    when_full: WhenFull = "wait"


class Producer:
    """Opens the store at the first use and enqueues into it. May be used by any thread."""

    def __init__(self, open_store: Callable[[], Store], *, args_limit: int = ARGS_LIMIT) -> None:
        self.args_limit = args_limit
        self.queues: dict[str, QueueRule] = {}
        self._open = open_store
        self._ids = IdMaker()
        self._lock = threading.Lock()
        self._opened: tuple[Store, Watch] | None = None
        self._closed = False
        self._errands = FileThreads()

    @property
    def store(self) -> Store:
        """The store; the first look opens it."""
        return self._both()[0]

    @property
    def watch(self) -> Watch:
        """What passes the store's hints on."""
        return self._both()[1]

    def divert(self, open_store: Callable[[], Store]) -> None:
        """Open another store than was said; UsageError when the first one is open already."""
        with self._lock:
            if self._opened is not None:
                raise UsageError(
                    f"this Conveyor has opened its store {self._opened[0].url} already: it can be "
                    "given another one only before its first use"
                )
            self._open = open_store

    def close(self) -> None:
        """Close the store, if it was ever opened. May be called twice."""
        with self._lock:
            opened, self._opened, self._closed = self._opened, None, True
        if opened is not None:
            store, watch = opened
            watch.close()
            store.close()

    def job(self, job_id: str, results: ResultCodec, *, existing: bool = False) -> Job[Any]:
        """Return a handle on a job; whether it exists shows when it is looked at."""
        return Job(job_id, store=self.store, watch=self.watch, results=results, existing=existing)

    def new_jobs(self, task: Task, wishes: Wishes, payloads: Sequence[bytes]) -> list[NewJob]:
        """Describe one job per payload, all of one queue."""
        now = self.store.now()
        options = wishes.options
        if task.kind == "command":
            options = for_commands(options)
        return [
            NewJob(
                id=self._ids.make(now),
                task=task.name,
                queue=wishes.queue or "default",
                args=payload,
                priority=wishes.priority,
                run_at=wishes.run_at,
                delay=wishes.delay,
                options=options,
            )
            for payload in payloads
        ]

    async def enqueue(
        self, caller: Caller, task: Task, wishes: Wishes, payloads: Sequence[bytes]
    ) -> list[Job[Any]]:
        """Put jobs into the store, in one transaction, and return their handles."""
        if not payloads:
            return []
        if len(payloads) > MANY:
            raise UsageError(f"{len(payloads):,} jobs at once; the limit is {MANY:,}: send chunks")
        if len(payloads) > 1 and wishes.options.key is not None:
            raise UsageError("a key names one job: enqueue_many cannot give it to several")
        store, watch = self._both()
        if wishes.files:
            wishes = await self._with_files(caller, wishes)
        rule = self.queues.get(wishes.queue or "default", UNBOUNDED)
        accepted = await enqueue(
            self.new_jobs(task, wishes, payloads),
            store=store,
            watch=watch,
            caller=caller,
            capacity=rule.capacity,
            when_full=wishes.when_full or rule.when_full,
            wait=wishes.wait,
        )
        return [
            Job(
                job_id,
                store=store,
                watch=watch,
                results=task.results,
                existing=job_id in accepted.existing,
            )
            for job_id in accepted.ids
        ]

    async def _with_files(self, caller: Caller, wishes: Wishes) -> Wishes:
        """Put the files into the store, and say in the options what they are."""
        sent = await upload_inputs(
            wishes.files, store=self.store, caller=caller, errands=self._errands
        )
        options = msgspec.structs.replace(wishes.options, files=sent)
        return msgspec.structs.replace(wishes, options=options)

    def _both(self) -> tuple[Store, Watch]:
        opened = self._opened
        if opened is None:
            with self._lock:
                if self._closed:
                    raise UnavailableError("this Conveyor was closed; make a new one")
                if self._opened is None:
                    store = self._open()
                    self._opened = store, Watch(store)
                opened = self._opened
        return opened


UNBOUNDED = QueueRule("")
