"""The options of the commands that start a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from .command_flags import command_options
from .options import log_options, queues_option, url_option

F = TypeVar("F", bound=Callable[..., Any])

queue_option = queues_option("Queue to serve; repeatable.", metavar="NAME[:WEIGHT]")
concurrency_option = click.option(
    "--concurrency", "-c", type=int, help="Maximum number of concurrent jobs."
)
strict_option = click.option(
    "--strict", is_flag=True, help="Serve queues in the given order, not by weight."
)
label_option = click.option(
    "--label",
    "labels",
    metavar="LABEL",
    multiple=True,
    help="Label that jobs can require; append !only to refuse jobs that do not require it. "
    "Repeatable.",
)
drain_option = click.option(
    "--drain", metavar="DURATION", help="Time for running jobs to finish at shutdown."
)
health_file_option = click.option(
    "--health-file", metavar="PATH", help="Health file for probes, updated every second."
)
lease_option = click.option(
    "--lease", metavar="DURATION", help="Time after which a claim expires unless renewed."
)


def metrics_options(command: F) -> F:
    """Add --metrics-port and --metrics-host."""
    command = click.option(
        "--metrics-host", metavar="ADDRESS", help="Address for --metrics-port; default: 127.0.0.1."
    )(command)
    return click.option(
        "--metrics-port", metavar="PORT", type=int, help="Serve metrics to Prometheus at this port."
    )(command)


def worker_options(command: F) -> F:
    """Add the argument APP and the options of `worker` and `run`."""
    for option in reversed(
        (
            click.argument("app", required=False),
            queue_option,
            concurrency_option,
            strict_option,
            label_option,
            click.option("--no-commands", is_flag=True, help="Do not run command jobs."),
            command_options,
            drain_option,
            lease_option,
            health_file_option,
            metrics_options,
            log_options,
            url_option,
        )
    ):
        command = option(command)
    return command
