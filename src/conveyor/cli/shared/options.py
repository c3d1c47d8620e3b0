"""The options of a job, for the commands that make one: enqueue and exec."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from ...errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


def job_options(command: F) -> F:
    """Add --retries, --timeout, --require, --file and --artifact; `given` reads them."""
    for option in reversed(
        (
            click.option("--retries", type=int, help="How often to try again."),
            click.option("--timeout", help="Stop it after this long."),
            click.option(
                "--require",
                "requires",
                metavar="LABEL",
                multiple=True,
                help="A label that its worker has to have.",
            ),
            click.option(
                "--file",
                "files",
                metavar="[NAME=]PATH",
                multiple=True,
                help="A file that it finds in a folder of its own.",
            ),
            click.option(
                "--artifact",
                "artifacts",
                metavar="PATTERN",
                multiple=True,
                help="Files to keep of those it leaves, like 'dist/*.whl'.",
            ),
        )
    ):
        command = option(command)
    return command


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given, as `using` takes them; UsageError for a bad --file."""
    chosen = {name: value for name, value in options.items() if value not in (None, ())}
    if "files" in chosen:
        chosen["files"] = _files(chosen["files"])
    return chosen


def _files(texts: Sequence[str]) -> dict[str, str]:
    files: dict[str, str] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals:
            name, path = os.path.basename(text), text
        if not name or not path:
            raise UsageError(f"--file {text!r}: write PATH, or NAME=PATH")
        if name in files:
            raise UsageError(f"--file {text!r}: there is a file {name!r} already; write NAME=PATH")
        files[name] = path
    return files
