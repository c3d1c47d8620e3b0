"""Options that several commands have, among them those of a job."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from ...errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


def url_option(command: F) -> F:
    """Add --url."""
    return click.option("--url", metavar="URL", help="Store (default: from the configuration).")(
        command
    )


def json_option(command: F) -> F:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def log_options(command: F) -> F:
    """Add --log-level and --log-format."""
    command = click.option("--log-format", metavar="FORMAT", help="Log format: text or json.")(
        command
    )
    return click.option(
        "--log-level", metavar="LEVEL", help="Log level: DEBUG, INFO, WARNING or ERROR."
    )(command)


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
