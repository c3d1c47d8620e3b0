"""What commands share: their options, the store, the application, and how results are printed."""

from __future__ import annotations

import datetime as dt
import importlib
import os
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...client.app import Conveyor
from ...core.job import JobRecord
from ...errors import NotFoundError, UsageError
from ...settings import Settings, load_settings
from ...store.messages import Filter
from ...store.open import open_store
from ...store.protocol import Store

F = TypeVar("F", bound=Callable[..., Any])

SHORTEST_PREFIX = 4
NEWEST = 1000


def url_option(command: F) -> F:
    """Add --url."""
    return click.option("--url", metavar="URL", help="The store (default: the configuration).")(
        command
    )


def json_option(command: F) -> F:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def app_option(command: F) -> F:
    """Add --app."""
    return click.option("--app", metavar="MODULE:NAME", help="The application.")(command)


@contextmanager
def opened(url: str | None) -> Generator[Store]:
    """Open the store that is meant, and close it."""
    store = open_store(str(load_settings({"url": url})["url"]))
    try:
        yield store
    finally:
        store.close()


def load_app(where: str) -> Conveyor:
    """Import "module:name" with the current folder on the path; UsageError says what is wrong."""
    module_name, colon, name = where.partition(":")
    if not colon or not module_name or not name:
        raise UsageError(f"the application {where!r} is written module:name, like app:belt")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the application {where!r}: there is no module {error.name!r}. "
            f"Run this in its folder ({os.getcwd()} was searched), or set PYTHONPATH."
        ) from error
    except Exception as error:
        raise UsageError(
            f"the application {where!r} does not import: {type(error).__name__}: {error}"
        ) from error
    found = getattr(module, name, None)
    if not isinstance(found, Conveyor):
        what = "nothing" if found is None else f"a {type(found).__name__}"
        raise UsageError(f"{where!r} is {what}; a Conveyor is wanted")
    return found


def app_and_settings(app: str | None, flags: dict[str, object]) -> tuple[Conveyor, Settings]:
    """Return the application and the settings in force; the url of a flag or file wins."""
    settings = load_settings({"app": app, **flags})
    if not settings["app"]:
        raise UsageError("name the application: conveyor worker module:name")
    if settings.sources["url"] == "the command line":
        os.environ["CONVEYOR_URL"] = str(settings["url"])
    return load_app(str(settings["app"])), settings


def find_job(store: Store, job_id: str) -> JobRecord:
    """Return a job by its id, or by the beginning of it if that fits just one of the newest."""
    try:
        return store.get(job_id).result()
    except NotFoundError:
        if len(job_id) < SHORTEST_PREFIX:
            raise
    newest = store.find(Filter(), limit=NEWEST).result()
    fitting = [job for job in newest if job.id.startswith(job_id) or job.id.endswith(job_id)]
    if len(fitting) > 1:
        raise UsageError(f"{job_id!r} fits {len(fitting)} jobs: give more of the id")
    if not fitting:
        raise NotFoundError(f"there is no job {job_id}")
    return fitting[0]


def print_json(value: object) -> None:
    """Print one JSON document on a line."""
    click.echo(msgspec.json.encode(value).decode())


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: drawn on a terminal, tab-separated for a program."""
    if not sys.stdout.isatty():
        for row in (headings, *rows):
            click.echo("\t".join(row))
        return
    table = Table(*headings, box=None, pad_edge=False)
    for row in rows:
        # Text: a name in brackets is no markup, whoever chose it.
        table.add_row(*map(Text, row))
    Console(no_color="NO_COLOR" in os.environ).print(table)


def say(text: str) -> None:
    """Tell a person something, on stderr. That nobody listens any more keeps nobody from acting."""
    try:
        click.echo(text, err=True)
    except BrokenPipeError:
        # What could not be written would be tried again at exit, and spoil the exit code.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stderr.fileno())
        os.close(null)
    except OSError:
        return  # a full disk, say


def moment(at: float | None) -> str:
    """Return a time as people read it, in the local zone."""
    if at is None:
        return "-"
    return dt.datetime.fromtimestamp(at).astimezone().isoformat(" ", "seconds")


def span(seconds: float) -> str:
    """Return how long something is, in one or two units."""
    seconds = max(0.0, seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f}{unit}"
    return f"{seconds:.1f}s"


def ago(at: float | None) -> str:
    """Return how long ago something was."""
    return "-" if at is None else span(time.time() - at)


def as_data(job: JobRecord) -> dict[str, Any]:
    """Return a job as JSON shows it: arguments and result as what they are."""
    data: dict[str, Any] = msgspec.to_builtins(job)
    data["args"] = msgspec.Raw(job.args)
    data["result"] = None if job.result is None else msgspec.Raw(job.result)
    return data
