"""A task that is known by its name alone, because another application declares it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from ..core.codec import ResultCodec, encode_plain
from ..core.command import command_task
from ..core.job import COMMAND_TASK, NO_OPTIONS, Options, TaskDefaults
from ..core.names import validate_name
from ..core.task import Task
from ..errors import NotFoundError, UsageError
from ..store.call_style import CallStyle
from .call_key import keyed
from .job_handle import Job
from .options import EnqueueOptions, JobOptions, merge_options
from .producer import Producer, QueueRule

_OPTION_NAMES = frozenset(NO_OPTIONS.__struct_fields__)


async def enqueue_by_name(
    producer: Producer,
    call_style: CallStyle,
    name: str,
    arguments: object,
    options: JobOptions,
) -> Job[Any]:
    """Enqueue a job of the task `name`; only its worker will check the arguments.

    The options that are not given are those that an application has declared to the store.
    """
    merge_options(EnqueueOptions(), options)  # a wrong option fails before the store is opened
    task = named_task(name)
    payload = _encode(name, arguments, producer.args_limit)
    declared = await call_style.wait_for(producer.store.task_defaults(name))
    if declared is None:
        given = None if task.name == COMMAND_TASK else tuple(options.keys() & _OPTION_NAMES)
        declared = TaskDefaults(name=name, options=Options(given=given))
    before = EnqueueOptions(
        options=declared.options,
        priority=declared.priority,
        queue=declared.queue,
        callbacks=declared.callbacks,
        key=declared.key,
    )
    chosen = keyed(merge_options(before, options), payload)
    queue = chosen.queue or "default"
    rule = producer.queues.get(queue) or await _stored_rule(producer, call_style, queue)
    [job] = await producer.enqueue(call_style, task, [(chosen, payload)], rule=rule)
    return job


def named_task(name: str) -> Task:
    """Return a task of this name, without its function."""
    described = command_task()
    if name == described.name:
        return described
    try:
        name = validate_name(name)
    except UsageError as error:
        raise UsageError(f"task: {error}") from error
    return replace(described, name=name, kind="thread", results=ResultCodec())


async def _stored_rule(producer: Producer, call_style: CallStyle, queue: str) -> QueueRule:
    """Return the bound of a queue as its own application has set it."""
    try:
        known = await call_style.wait_for(producer.store.queue_info(queue))
    except NotFoundError:
        return QueueRule(queue)
    return QueueRule(queue, known.capacity)


def _encode(name: str, arguments: object, limit: int) -> bytes:
    if arguments == ():
        return b"{}"
    if not isinstance(arguments, Mapping):
        raise UsageError(
            f"the task {name!r} is not declared here, so its arguments must be a mapping of names "
            f"to values, like {{'to': 'ann'}}; got {arguments!r}"
        )
    values = dict(cast("Mapping[Any, Any]", arguments))
    return encode_plain(values, f"the arguments of {name}", limit=limit)
