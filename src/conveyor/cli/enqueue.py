"""`conveyor enqueue`: adds a job to a queue."""

from __future__ import annotations

from typing import Any, cast

import click
import msgspec

from ..client.app import Conveyor
from ..client.job_handle import Job
from ..client.named_task import enqueue_by_name
from ..client.options import EnqueueOptions, JobOptions, merge_options
from ..client.producer import Producer
from ..core.job import COMMAND_TASK
from ..core.pending import run_sync
from ..errors import UnknownTaskError, UsageError
from ..settings import load_settings
from ..store.call_style import BlockingCalls
from ..store.open import open_store
from .shared.application import load_app_and_settings
from .shared.completions import complete_tasks
from .shared.options import (
    app_option,
    chosen_options,
    job_options,
    json_option,
    key_options,
    queue_option,
    url_option,
)
from .shared.output import print_json, print_line, print_stderr


@click.command("enqueue")
@click.argument("task", shell_complete=complete_tasks)
@click.argument("arguments", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--args", "args_json", metavar="JSON", help="All arguments as a JSON object.")
@app_option("Application to check the call against.")
@queue_option("Queue (default: the task's, or 'default').")
@click.option("--priority", type=int, help="Priority; higher values run first.")
@click.option("--delay", metavar="DURATION", help="Earliest start from now, like 90 or 5m.")
@key_options
@job_options
@click.option("--wait", metavar="DURATION", help="Maximum wait for room in a full queue.")
@json_option
@url_option
def enqueue_command(
    task: str,
    arguments: tuple[str, ...],
    args_json: str | None,
    app: str | None,
    as_json: bool,
    url: str | None,
    **options: Any,
) -> None:
    options = chosen_options(options)
    merge_options(EnqueueOptions(), JobOptions(**options))  # type: ignore[typeddict-item]
    values = _parse_arguments(arguments, args_json)
    settings = load_settings({"url": url, "app": app})
    if settings["app"]:
        belt, _ = load_app_and_settings(app, {"url": url})
        job = _enqueue_through_app(belt, str(settings["app"]), task, values, options)
    else:
        job = _enqueue_unchecked(str(settings["url"]), task, values, options)
    if as_json:
        print_json({"id": job.id, "existing": job.existing, "replaced": job.replaced})
    else:
        print_line(job.id)


def _parse_arguments(arguments: tuple[str, ...], args_json: str | None) -> dict[str, Any]:
    if args_json is None:
        parsed: dict[str, Any] = {}
        for argument in arguments:
            name, value = _parse_argument(argument)
            if name in parsed:
                raise UsageError(f"the argument {name!r} is given twice")
            parsed[name] = value
        return parsed
    if arguments:
        raise UsageError("pass arguments as NAME=VALUE or with --args, not both")
    try:
        values = msgspec.json.decode(args_json)
    except msgspec.DecodeError as error:
        raise UsageError(f"--args is not valid JSON: {error}") from error
    except RecursionError:
        raise UsageError("--args is nested too deeply") from None
    if not isinstance(values, dict):
        raise UsageError('--args must be a JSON object, like {"path": "cat.jpg"}')
    return cast("dict[str, Any]", values)


def _parse_argument(argument: str) -> tuple[str, Any]:
    name, equals, text = argument.partition("=")
    if not equals or not name:
        raise UsageError(f"invalid argument {argument!r}: expected NAME=VALUE")
    try:
        return name, msgspec.json.decode(text)
    except msgspec.DecodeError:
        return name, text
    except RecursionError:
        raise UsageError(f"the argument {name!r} is nested too deeply") from None


def _enqueue_through_app(
    belt: Conveyor, app_path: str, task: str, values: dict[str, Any], options: dict[str, Any]
) -> Job[Any]:
    # "send" stands for "shop.send" if no other task ends with it.
    matching = [name for name in belt.functions if name == task or name.endswith(f".{task}")]
    function = belt.functions.get(task)
    if function is None and len(matching) == 1:
        function = belt.functions[matching[0]]
    if function is None:
        known = ", ".join(sorted(belt.functions)) or "none"
        raise UnknownTaskError(f"{app_path} has no task {task!r}; available: {known}")
    job = function.using(**options).enqueue(**values)
    belt.close()
    return job


def _enqueue_unchecked(
    url: str, task: str, values: dict[str, Any], options: dict[str, Any]
) -> Job[Any]:
    """Enqueue without the application: only the worker will check the arguments."""
    producer = Producer(lambda: open_store(url))
    try:
        is_known = task == COMMAND_TASK or producer.store.task_defaults(task).result() is not None
        job = run_sync(
            enqueue_by_name(producer, BlockingCalls(), task, values, JobOptions(**options))  # type: ignore[typeddict-item]
        )
        if not is_known:
            print_stderr(
                f"conveyor: no worker has declared a task {task!r} to this store; the job waits "
                "until one does, for at most 24 h"
            )
    finally:
        producer.close()
    return job
