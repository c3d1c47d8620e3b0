"""Options that several commands have, among them those of a job."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import click

from ...core.job import State
from ...errors import UsageError
from .completions import complete_jobs, complete_queues, complete_states, complete_tasks

F = TypeVar("F", bound=Callable[..., Any])


def url_option(command: F) -> F:
    """Add --url."""
    return click.option("--url", metavar="URL", help="Store (default: from the configuration).")(
        command
    )


def json_option(command: F) -> F:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def reason_option(text: str = "Reason to record in the audit log.") -> Callable[[F], F]:
    """Return a decorator that adds --reason with this help text.

    The command passes it to the store, which may be a server, and to `audited`, for the others.
    """
    return click.option("--reason", default="", help=text)


def raw_option(command: F) -> F:
    """Add --raw."""
    return click.option(
        "--raw",
        is_flag=True,
        help="Print the output unchanged on a terminal, too, with its control sequences.",
    )(command)


def log_options(command: F) -> F:
    """Add --log-level and --log-format."""
    command = click.option("--log-format", metavar="FORMAT", help="Log format: text or json.")(
        command
    )
    return click.option(
        "--log-level", metavar="LEVEL", help="Log level: DEBUG, INFO, WARNING or ERROR."
    )(command)


def job_id_argument(command: F) -> F:
    """Add the argument JOB_ID."""
    return click.argument("job_id", shell_complete=complete_jobs())(command)


def job_ids_argument(states: Collection[State] = (), *, required: bool = False) -> Callable[[F], F]:
    """Return a decorator that adds the argument JOB_IDS, completed with jobs in these states."""
    return click.argument(
        "job_ids", nargs=-1, required=required, shell_complete=complete_jobs(states)
    )


def queue_option(text: str, default: str | None = None) -> Callable[[F], F]:
    """Return a decorator that adds --queue and -q with this help text."""
    return click.option(
        "--queue",
        "-q",
        metavar="NAME",
        default=default,
        show_default=default is not None,
        help=text,
        shell_complete=complete_queues,
    )


def queues_option(text: str, metavar: str = "NAME") -> Callable[[F], F]:
    """Return a decorator that adds a repeatable --queue, as the parameter `queues`."""
    return click.option(
        "--queue",
        "-q",
        "queues",
        metavar=metavar,
        multiple=True,
        help=text,
        shell_complete=complete_queues,
    )


def task_option(text: str) -> Callable[[F], F]:
    """Return a decorator that adds --task with this help text."""
    return click.option("--task", metavar="NAME", help=text, shell_complete=complete_tasks)


def state_option(text: str) -> Callable[[F], F]:
    """Return a decorator that adds a repeatable --state; `parse_state` reads each."""
    return click.option(
        "--state",
        "states",
        metavar="STATE",
        multiple=True,
        help=text,
        shell_complete=complete_states,
    )


def filter_options(command: F) -> F:
    """Add --worker, --error and --text, the rarer parts of a filter."""
    for option in reversed(
        (
            click.option("--worker", metavar="ID", help="Only jobs that this worker ran last."),
            click.option(
                "--error",
                metavar="FINGERPRINT",
                help="Only jobs that failed last in this way; see `conveyor failures`.",
            ),
            click.option("--text", help="Only jobs with this text in their arguments."),
        )
    ):
        command = option(command)
    return command


def parse_state(name: str) -> State:
    """Return the state with this name; UsageError if there is none."""
    try:
        return State(name)
    except ValueError:
        raise UsageError(f"unknown state {name!r}: expected one of {', '.join(State)}") from None


def app_option(text: str) -> Callable[[F], F]:
    """Return a decorator that adds --app with this help text."""
    return click.option("--app", metavar="MODULE:NAME", help=text)


def job_options(command: F) -> F:
    """Add --retries, --timeout, --require, --file and --artifact; `chosen_options` reads them."""
    for option in reversed(
        (
            click.option("--retries", type=int, help="Maximum number of retries."),
            click.option("--timeout", metavar="DURATION", help="Maximum run time of one attempt."),
            click.option(
                "--require",
                "requires",
                metavar="LABEL",
                multiple=True,
                help="Label that the worker must have; repeatable.",
            ),
            click.option(
                "--file",
                "files",
                metavar="[NAME=]PATH",
                multiple=True,
                help="Input file, copied to the job's working directory; repeatable.",
            ),
            click.option(
                "--artifact",
                "artifacts",
                metavar="PATTERN",
                multiple=True,
                help="Output files to keep, like 'dist/*.whl'; repeatable.",
            ),
        )
    ):
        command = option(command)
    return command


def key_options(command: F) -> F:
    """Add --key, --on-conflict and --postpone-limit; `chosen_options` reads them."""
    for option in reversed(
        (
            click.option(
                "--key",
                help="Unique key among the task's jobs in the queue that have not ended; "
                "{NAME} is the value of an argument.",
            ),
            click.option(
                "--on-conflict",
                metavar="ACTION",
                help="What to do with the job that has the key: keep, replace, postpone or join.",
            ),
            click.option(
                "--postpone-limit",
                metavar="DURATION",
                help="Maximum time by which a job can be postponed after it was enqueued.",
            ),
        )
    ):
        command = option(command)
    return command


def chosen_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given, as `using` takes them; UsageError for a bad --file."""
    chosen = {name: value for name, value in options.items() if value not in (None, ())}
    if "files" in chosen:
        chosen["files"] = _parse_files(chosen["files"])
    return chosen


def _parse_files(texts: Sequence[str]) -> dict[str, str]:
    files: dict[str, str] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals:
            name, path = os.path.basename(text), text
        if not name or not path:
            raise UsageError(f"invalid --file {text!r}: expected PATH or NAME=PATH")
        if name in files:
            raise UsageError(f"--file {text!r}: duplicate name {name!r}; rename it with NAME=PATH")
        files[name] = path
    return files
