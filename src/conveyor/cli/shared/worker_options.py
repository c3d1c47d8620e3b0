"""The options of the commands that start a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ...errors import UsageError
from .command_flags import command_options
from .options import url_option

F = TypeVar("F", bound=Callable[..., Any])

queue_option = click.option("--queue", "-q", "queues", multiple=True, help="NAME or NAME:WEIGHT.")
concurrency_option = click.option("--concurrency", "-c", type=int, help="How many jobs at once.")
strict_option = click.option("--strict", is_flag=True, help="Queues in order, not by weight.")
drain_option = click.option("--drain", help="How long running jobs may finish at shutdown.")
health_file_option = click.option(
    "--health-file", help="Where to say every second how it is, for probes."
)
log_level_option = click.option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")
lease_option = click.option("--lease", help="How long a claim lasts unless renewed.")


def worker_options(command: F) -> F:
    """Add the argument APP and the options of `worker` and `run`."""
    for option in reversed(
        (
            click.argument("app", required=False),
            queue_option,
            concurrency_option,
            strict_option,
            click.option("--label", "labels", multiple=True, help="A label jobs may require."),
            click.option("--no-commands", is_flag=True, help="Leave jobs that are commands alone."),
            command_options,
            drain_option,
            lease_option,
            health_file_option,
            log_level_option,
            url_option,
        )
    ):
        command = option(command)
    return command


def parse_queue_weights(names: tuple[str, ...]) -> list[tuple[str, int]]:
    """Parse "mail" and "mail:4"."""
    found: list[tuple[str, int]] = []
    for text in names:
        name, colon, weight = text.rpartition(":")
        if not colon:
            name, weight = text, "1"
        if not name or not weight.isdigit() or not 1 <= int(weight) <= 1000:
            raise UsageError(f"--queue {text!r}: write NAME or NAME:WEIGHT, weight 1 to 1000")
        found.append((name, int(weight)))
    return found
