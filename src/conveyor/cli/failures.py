"""`conveyor failures`: failures that are alike, in groups, or one group with its traceback."""

from __future__ import annotations

import click

from ..core.failures import Failure, Failures
from .shared.options import json_option, queue_option, task_option, url_option
from .shared.output import (
    format_time,
    print_block,
    print_json,
    print_line,
    print_stderr,
    print_table,
)
from .shared.store_access import open_configured_store

HEADINGS = ("FINGERPRINT", "ATTEMPTS", "JOBS", "FIRST", "LAST", "TASKS", "ERROR")
LONGEST_ERROR = 60


@click.command("failures")
@click.argument("fingerprint", required=False)
@queue_option("Only failures of this queue.")
@task_option("Only failures of this task; not for a single group.")
@click.option(
    "--limit",
    default=20,
    type=click.IntRange(1, 1000),
    show_default=True,
    help="Maximum number of groups.",
)
@json_option
@url_option
def failures_command(
    fingerprint: str | None,
    queue: str | None,
    task: str | None,
    limit: int,
    as_json: bool,
    url: str | None,
) -> None:
    with open_configured_store(url) as store:
        found: Failure | Failures
        if fingerprint is not None:
            found = store.failure(fingerprint, queue=queue).result()
        else:
            found = store.failures(queue=queue, task=task, limit=limit).result()
    if as_json:
        print_json(found)
    elif isinstance(found, Failure):
        _print_group(found)
    else:
        _print_groups(found)


def _print_groups(found: Failures) -> None:
    rows = [
        (
            group.fingerprint,
            str(group.count),
            str(group.jobs),
            format_time(group.first_at),
            format_time(group.last_at),
            ", ".join(group.tasks),
            f"{group.type}: {group.message}".splitlines()[0][:LONGEST_ERROR],
        )
        for group in found.groups
    ]
    print_table(HEADINGS, rows)
    if not found.is_complete:
        print_stderr(f"Only the newest {found.limit:,} failed attempts were looked at.")
    if found.more:
        print_stderr("There are more groups: --limit")


def _print_group(found: Failure) -> None:
    group = found.group
    print_line(f"{found.error}")
    print_line(
        f"{group.count} attempts of {group.jobs} jobs, from {format_time(group.first_at)} to "
        f"{format_time(group.last_at)}"
    )
    for each in found.newest:
        print_line(
            f"{each.job_id}  {each.task}  {each.queue}  {format_time(each.at)}  -> {each.became}"
        )
    if found.error.traceback:
        print_line()
        print_block(found.error.traceback.rstrip())
