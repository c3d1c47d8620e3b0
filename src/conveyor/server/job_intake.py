"""Turns received jobs into new jobs, under the same rules as for a local producer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ..client.call_executor import CALLS
from ..client.options import RULES
from ..core.callbacks import not_given
from ..core.command import require_command_label
from ..core.files import check_files
from ..core.ids import IdMaker
from ..core.job import COMMAND_TASK, NO_OPTIONS, Callback, NewJob, Options, TaskDefaults
from ..core.names import NAME_LIMIT, validate_name
from ..core.task import Task, unknown_name
from ..core.trace_context import checked_trace
from ..errors import EncodingError, UnknownTaskError, UsageError
from ..store.enqueue_rules import given_options, lay_under
from ..store.http.wire import NewJobView, decode_new_job


class JobIntake:
    """Checks received jobs. `args_limit` is the maximum size of a job's arguments in bytes."""

    def __init__(self, args_limit: int, tasks: Mapping[str, Task] | None = None) -> None:
        self._ids = IdMaker()
        self._tasks = tasks or {}
        self._args_limit = args_limit

    def new_jobs(
        self,
        views: list[NewJobView],
        queue: str,
        now: float,
        declared: Mapping[str, TaskDefaults],
    ) -> list[NewJob]:
        """Return new jobs for one queue; UsageError says which job is invalid.

        `declared` are the defaults of tasks, which are laid under what was sent.
        """
        validate_name(queue)
        jobs = (self._new_job(view, number, queue, now) for number, view in enumerate(views))
        return [
            job if view.complete else with_defaults(job, declared.get(job.task))
            for job, view in zip(jobs, views, strict=True)
        ]

    def _new_job(self, view: NewJobView, number: int, queue: str, now: float) -> NewJob:
        try:
            _check(view, self._args_limit)
            self._check_task(view, queue)
        except UsageError as error:
            raise type(error)(f"job {number} ({view.task[:NAME_LIMIT]}): {error}") from error
        job = decode_new_job(view, queue)
        is_command = job.task == COMMAND_TASK
        return msgspec.structs.replace(
            job,
            id=job.id or self._ids.make(now),
            # A command goes only to workers that may run commands, whatever its sender asks for.
            options=require_command_label(job.options) if is_command else job.options,
        )

    def _check_task(self, view: NewJobView, queue: str) -> None:
        """Raise UsageError for a job that the server's application cannot run."""
        if not self._tasks or queue == CALLS or view.task == COMMAND_TASK:
            return
        task = self._tasks.get(view.task)
        if task is None:
            raise UnknownTaskError(unknown_name(view.task, self._tasks))
        task.args.decode(bytes(view.args))
        for each in view.callbacks:
            if each.task not in self._tasks:
                raise UnknownTaskError(f"on_{each.on}: {unknown_name(each.task, self._tasks)}")


def with_defaults(job: NewJob, declared: TaskDefaults | None) -> NewJob:
    """Return a job with what its task declares wherever the job itself says nothing."""
    if job.task == COMMAND_TASK:
        return job
    given = given_options(job.options)
    if declared is None:
        options = msgspec.structs.replace(job.options, given=tuple(given))
        return msgspec.structs.replace(job, options=options)
    options = lay_under(job.options, declared.options, given)
    if options.key is None and declared.key is not None:
        options = msgspec.structs.replace(options, key=validate_name(declared.key.render(job.args)))
    return msgspec.structs.replace(
        job,
        priority=job.priority or declared.priority,
        callbacks=(
            *job.callbacks,
            *not_given(declared.callbacks, {each.on for each in job.callbacks}),
        ),
        options=options,
    )


def check_declarations(tasks: Iterable[TaskDefaults]) -> None:
    """Raise UsageError for a task that declares what none of its jobs could be sent with."""
    for task in tasks:
        try:
            RULES["priority"][0](task.priority)
            _check_options(task.options)
            _check_callbacks(task.callbacks)
        except UsageError as error:
            raise UsageError(f"task {task.name[:NAME_LIMIT]}: {error}") from error


def check_args_size(args: bytes, limit: int) -> None:
    """Raise EncodingError for arguments that are larger than a job may have."""
    if len(args) > limit:
        raise EncodingError(
            f"the arguments are {len(args):,} bytes of JSON, the limit is {limit:,}: store the "
            "data elsewhere and pass its name"
        )


def _check(view: NewJobView, args_limit: int) -> None:
    validate_name(view.task)
    if view.id:
        validate_name(view.id)
    args = bytes(view.args)
    if not args.startswith(b"{"):
        raise UsageError('args must be an object with arguments by name, like {"path": "cat.jpg"}')
    check_args_size(args, args_limit)
    if view.run_at is not None and view.delay:
        raise UsageError("use delay or run_at, not both")
    RULES["priority"][0](view.priority)
    RULES["delay"][0](view.delay)
    if view.options != NO_OPTIONS:
        _check_options(view.options)
    _check_callbacks(view.callbacks)


def _check_callbacks(callbacks: Sequence[Callback]) -> None:
    for each in callbacks:
        try:
            _check_option("priority", each.priority)
            _check_options(each.options)
        except UsageError as error:
            raise UsageError(f"on_{each.on}: {error}") from error


def _check_options(options: Options) -> None:
    check_files(options.files, options.artifacts)
    if options.trace is not None:
        checked_trace(options.trace)
    for option, value in given_options(options).items():
        if option in RULES and option != "files":
            _check_option(option, value)


def _check_option(option: str, value: object) -> None:
    try:
        RULES[option][0](value)
    except (UsageError, TypeError, ValueError) as error:
        raise UsageError(f"{option}: {error}") from error
