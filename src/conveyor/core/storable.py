"""What a store accepts: only what it can read back, show, run and settle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import TypeVar

import msgspec

from ..errors import UsageError
from .access import Token
from .bounds import (
    BOUNDS,
    CLASS_NAME_LIMIT,
    LARGEST_INTEGER,
    check_size,
    checked_meta,
    checked_moment,
    checked_number,
    checked_seconds,
    cut,
)
from .files import check_files
from .job import (
    NO_OPTIONS,
    Callback,
    JobRecord,
    NewJob,
    Options,
    Progress,
    ScheduleInfo,
    StopNote,
    TaskDefaults,
    WorkerInfo,
)
from .key_template import parse_key
from .names import NAME_LIMIT, validate_name
from .retry import DEFAULT, check_backoff
from .trace_context import checked_trace

# The names of the package's own tasks begin with this.
RESERVED = "conveyor."
# What would keep a callback from being enqueued or from running, or belongs to one call.
NOT_OF_CALLBACKS = ("key", "on_conflict", "postpone_limit", "expires_at", "files", "given")

_encode = msgspec.json.Encoder().encode

T = TypeVar("T")
V = TypeVar("V")


def check_jobs(jobs: Iterable[NewJob]) -> None:
    """Raise UsageError for the first job that no store could read back, show or run.

    The jobs of a call are of one queue: its bound, its counts and its history are what they change.
    """
    # Jobs that are enqueued together share these.
    checked = NO_OPTIONS
    task: str | None = None
    queue: str | None = None
    for new in jobs:
        try:
            name = new.id
            # True for nearly every id, and three times as fast as a call.
            if not (name.isascii() and "\0" not in name and 0 < len(name) <= NAME_LIMIT):
                _check_name("id", name)
            if new.task is not task:
                task = _check_name("task", new.task)
            if new.queue is not queue:
                first, queue = queue, _check_name("queue", new.queue)
                if first is not None and queue != first:
                    raise UsageError(_other_queue(queue, first))
            if new.run_at is not None:
                checked_moment(new.run_at, "run_at")
            if new.delay:
                checked_seconds(new.delay, "delay")
            if new.options is not checked:
                _check_options(new.options)
                check_on_conflict(new.options)
                checked = new.options
            if new.callbacks:
                _check_callbacks(new.callbacks)
        except UsageError as error:
            raise UsageError(f"job {new.id!s:.200} ({new.task!s:.200}): {error}") from error


def _other_queue(queue: str, first: str) -> str:
    return (
        f"its queue is {queue!r:.200}, that of the jobs before it is {first!r:.200}; enqueue the "
        "jobs of each queue in a call of their own"
    )


def check_on_conflict(options: Options) -> None:
    """Raise UsageError for a job that says what to do with the holder of a key that it lacks."""
    wish, limit = options.on_conflict, options.postpone_limit
    if options.key is None and wish != "keep":
        raise UsageError(f"on_conflict={wish!r} needs a key: add key=, or leave out on_conflict")
    if limit is not None and wish != "postpone":
        raise UsageError(
            f"postpone_limit={limit:g} needs on_conflict='postpone', got {wish!r}: "
            "leave out postpone_limit, or postpone"
        )


def checked_record(job: JobRecord) -> JobRecord:
    """Return a job that a foreign store has sent; it is damaged if no store would accept it."""
    if job.damage:
        return job
    try:
        _check_name("id", job.id)
        _check_name("task", job.task)
        _check_name("queue", job.queue)
        if job.options != NO_OPTIONS:
            _check_options(job.options)
        # A damaged row may have a negative attempt, which harms nobody.
        numbers = (job.seq, job.lease, job.crashes, abs(job.attempt), abs(job.priority))
        if min(numbers) < 0 or max(numbers) > LARGEST_INTEGER:
            raise UsageError(f"its numbers are not those of a job: {numbers!s:.200}")
    except UsageError as error:
        return msgspec.structs.replace(job, options=NO_OPTIONS, damage=str(error))
    return job


def check_tasks(tasks: Iterable[TaskDefaults]) -> None:
    """Raise UsageError for a declaration whose jobs no store could read back, show or run."""
    for task in tasks:
        try:
            _check_name("task", task.name)
            _check_name("queue", task.queue)
            if task.options.files:
                raise UsageError("a task cannot have files: each job has its own")
            _check_options(task.options)
            if task.key is not None:
                parse_key(task.key.text)
            _check_callbacks(task.callbacks)
        except UsageError as error:
            raise UsageError(f"task {task.name!s:.200}: {error}") from error


def checked_progress(reports: Iterable[tuple[T, Progress]]) -> list[tuple[T, Progress]]:
    """Return progress as it is stored, its messages cut; UsageError for numbers not finite."""
    return [(lease, _checked_progress(progress)) for lease, progress in reports]


def bounded_steps(
    reports: Iterable[tuple[T, Sequence[StopNote]]],
) -> list[tuple[T, list[StopNote]]]:
    """Return the steps taken to stop jobs as they are stored: their texts cut, and not too many."""
    return [(lease, _bounded_steps(notes)) for lease, notes in reports]


def check_schedule(schedule: ScheduleInfo) -> None:
    """Raise UsageError for a schedule without a name, or whose next tick no calendar has."""
    _check_name("schedule", schedule.name)
    _check_next_tick(schedule.name, schedule.next_at)
    _named("cron", partial(check_size, "cron"), schedule.cron)
    _named("timezone", partial(check_size, "timezone"), schedule.timezone)


def check_token(token: Token) -> None:
    """Raise UsageError for a token that is larger than any that is issued."""
    try:
        _check_name("id", token.id)
        _named("name", partial(check_size, "token"), token.name)
        _named("digest", partial(check_size, "digest"), token.digest)
        _named("queues", partial(check_size, "queues"), token.queues)
        for queue in token.queues:
            _check_name("queue", queue)
    except UsageError as error:
        raise UsageError(f"token {token.id!s:.200}: {error}") from error


def bounded_worker(worker: WorkerInfo) -> WorkerInfo:
    """Return a worker's description as it is stored; UsageError if it is too large.

    What comes and goes while it works is cut, because a heartbeat that is refused looks like death.
    """
    if len(_encode(worker)) <= BOUNDS["worker"].limit:
        return worker
    worker = msgspec.structs.replace(
        worker,
        waits=_first_few(worker.waits),
        unsupported=_first_few(worker.unsupported),
        sick=_first_few({kind: cut("reason", why) for kind, why in worker.sick.items()}),
    )
    _named(f"worker {worker.id!s:.200}", partial(check_size, "worker"), _encode(worker))
    return worker


def check_tick(name: str, next_at: float, jobs: Sequence[NewJob]) -> None:
    """Raise UsageError for a tick whose jobs, or whose next tick, no store could read back."""
    _check_next_tick(name, next_at)
    check_jobs(jobs)
    for new in jobs:
        if new.options.files:
            raise UsageError(
                f"job {new.id} ({new.task}): a scheduled job cannot have files: they are read when "
                "a job is enqueued"
            )


def _checked_progress(progress: Progress) -> Progress:
    checked_number(progress.done, "progress: done")
    if progress.total is not None:
        checked_number(progress.total, "progress: total")
    message = cut("progress", progress.message)
    if message is progress.message:
        return progress
    return msgspec.structs.replace(progress, message=message)


def _bounded_steps(notes: Sequence[StopNote]) -> list[StopNote]:
    limit = BOUNDS["stopping"].limit
    kept = [StopNote(note.at, cut("step", note.text)) for note in notes[:limit]]
    if len(notes) > limit:
        kept[-1] = StopNote(notes[-1].at, f"… (cut, {len(notes):,} steps)")
    return kept


def _first_few(known: dict[str, T]) -> dict[str, T]:
    """Return the first entries of a dictionary, as many as are kept of a large one."""
    kept: dict[str, T] = {}
    left = BOUNDS["faults"].limit
    for name, value in known.items():
        left -= len(_encode((name, value)))
        if left < 0:
            break
        kept[name] = value
    return kept


def _check_next_tick(name: str, next_at: float) -> None:
    checked_moment(next_at, f"the next tick of schedule {name!r}")


def _check_options(options: Options) -> None:
    if options.backoff is not DEFAULT:
        check_backoff(options.backoff)
    if options.timeout is not None:
        checked_seconds(options.timeout, "timeout")
    checked_seconds(options.grace, "grace")
    if options.expires_at is not None:
        checked_moment(options.expires_at, "expires_at")
    if options.meta:
        _named("meta", checked_meta, options.meta)
    _check_key(options)
    if options.requires:
        _named("requires", partial(check_size, "requires"), options.requires)
        for label in options.requires:
            _check_name("label", label)
    if options.retry_on:
        _check_retry_on(options.retry_on)
    if options.given:
        _named("given", partial(check_size, "given"), options.given)
    if options.trace is not None:
        checked_trace(options.trace)
    if options.files or options.artifacts:
        check_files(options.files, options.artifacts)


def _check_key(options: Options) -> None:
    if options.key is not None:
        _check_name("key", options.key)
    if options.postpone_limit is not None:
        checked_seconds(options.postpone_limit, "postpone_limit")
    if options.replaced_by is not None:
        _check_name("replaced_by", options.replaced_by)


def _check_callbacks(callbacks: Sequence[Callback]) -> None:
    if len({each.on for each in callbacks}) < len(callbacks):
        raise UsageError("a job can have one callback for discards and one for every end")
    for each in callbacks:
        try:
            _check_callback(each)
        except UsageError as error:
            raise UsageError(f"on_{each.on}: {error}") from error


def _check_callback(callback: Callback) -> None:
    if _check_name("task", callback.task).startswith(RESERVED):
        raise UsageError(f"{callback.task} cannot be a callback: it takes no job that has ended")
    _check_name("queue", callback.queue)
    _check_name("parameter", callback.parameter)
    if abs(callback.priority) > LARGEST_INTEGER:
        raise UsageError(f"priority {callback.priority} is no integer of 64 bits")
    options = callback.options
    _check_options(options)
    for name in NOT_OF_CALLBACKS:
        if getattr(options, name) != getattr(NO_OPTIONS, name):
            raise UsageError(f"a callback cannot have {name}, got {getattr(options, name)!r}")


def _check_retry_on(names: Sequence[str]) -> None:
    _named("retry_on", partial(check_size, "retry_on"), names)
    for name in names:
        if len(name) > CLASS_NAME_LIMIT:
            raise UsageError(
                f"retry_on: {len(name):,} characters are above the limit of {CLASS_NAME_LIMIT:,}"
            )


@lru_cache(maxsize=1000)  # hot path: a program has few names of tasks and queues
def _check_name(what: str, value: str) -> str:
    return _named(what, validate_name, value)


def _named(what: str, check: Callable[[V], T], value: V) -> T:
    try:
        return check(value)
    except UsageError as error:
        raise UsageError(f"{what}: {error}") from error
