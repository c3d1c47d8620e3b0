"""How commands print: data to stdout, as JSON or a table, and messages to stderr.

Every command prints with these functions, and they escape what others wrote; the linter refuses
other ways to print.
"""

from __future__ import annotations

import os
import shutil
import sys
import traceback
from collections.abc import Mapping, Sequence
from textwrap import indent
from typing import Any

import click
import msgspec

from ...core.bounds import format_moment
from ...core.foreign_text import escape_block, escape_json, escape_line
from ...core.job import JobRecord
from ...system.stderr_pipe import has_room

# How long a message may wait for room in stderr, in seconds.
PRINT_TIMEOUT = 0.1

INDENT = "    "


def print_json(value: object) -> None:
    """Print one JSON document on a line. It decodes to exactly the value."""
    click.echo(escape_json(msgspec.json.encode(value).decode()))


def print_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, starts_with_id: bool = False
) -> None:
    """Print a table: formatted on a terminal, tab-separated otherwise.

    If the table is too wide and each row `starts_with_id`, only the end of the ids is shown: jobs
    of about the same time have ids that begin alike, and commands take the end of an id.
    """
    if not sys.stdout.isatty():
        for row in (headings, *rows):
            click.echo("\t".join(map(escape_line, row)))
        return
    # Imported here because it is slow to import, and probes print no table.
    from .drawn_table import draw_table  # noqa: PLC0415

    draw_table(
        headings, [[escape_line(cell) for cell in row] for row in rows], ends_of_ids=starts_with_id
    )


def terminal_width() -> int:
    """Return how many columns the terminal has."""
    return shutil.get_terminal_size().columns


def print_job_states(states: Mapping[str, str], *, as_json: bool) -> None:
    """Print the state of each job, by its id."""
    if as_json:
        print_json(states)
        return
    for job_id, state in states.items():
        print_line(f"{job_id} {state}")


def print_line(text: str = "") -> None:
    """Print text as one line, whatever is in it."""
    click.echo(escape_line(text))


def print_block(text: str) -> None:
    """Print text of several lines, such as a traceback, indented: no line looks like ours."""
    click.echo(indent(escape_block(text), INDENT))


def print_script(text: str) -> None:
    """Print a program of ours for a shell or a database, unchanged."""
    click.echo(text)


def print_job_counts(counts: Mapping[str, int], *, as_json: bool) -> None:
    """Print how many jobs have each state now."""
    if as_json:
        print_json(dict(counts))
    else:
        print_line(", ".join(f"{count:,} {state}" for state, count in counts.items()) or "no jobs")


def print_stderr(*lines: str) -> None:
    """Print a message for a person. A closed or full stderr is no error, and blocks nobody."""
    _print_message("\n".join(map(escape_line, lines)))


def print_traceback(error: BaseException) -> None:
    """Print on stderr where an error was raised, like `print_stderr`."""
    _print_message(escape_block("".join(traceback.format_exception(error)).rstrip("\n")))


def ask(question: str) -> None:
    """Ask on stderr, and raise click.Abort unless the answer is yes."""
    click.confirm(escape_line(question), abort=True, err=True)


def _print_message(text: str) -> None:
    try:
        if has_room(sys.stderr, PRINT_TIMEOUT):
            click.echo(text, err=True)
    except BrokenPipeError:
        # The interpreter would flush the rest at exit, fail again and change the exit code.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stderr.fileno())
        os.close(null)
    except (OSError, ValueError):
        return  # a full disk, for example, or a closed file


def format_time(at: float | None) -> str:
    """Return a timestamp in the local time zone."""
    return "-" if at is None else format_moment(at)


def format_duration(seconds: float) -> str:
    """Return a duration in one unit, like 1.5h."""
    seconds = max(0.0, seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f}{unit}"
    return f"{seconds:.1f}s"


def format_count(count: int, noun: str) -> str:
    """Return "1 job" or "1,000 jobs"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def format_age(at: float | None, now: float) -> str:
    """Return the time that has passed since a timestamp, both by the store's clock."""
    return "-" if at is None else format_duration(now - at)


def job_as_json(job: JobRecord) -> dict[str, Any]:
    """Return a job as JSON shows it, with its arguments and result as JSON values."""
    data: dict[str, Any] = msgspec.to_builtins(job)
    data["args"] = msgspec.Raw(job.args)
    data["result"] = None if job.result is None else msgspec.Raw(job.result)
    return data
