"""`conveyor drill`: proves that the user's workers stop and recover as promised."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..drill.report import HEADINGS, failure_details, render, results_as_json, summary, table_rows
from ..drill.runner import Drill, Phase, ProgressCallback, ScenarioResult
from ..drill.scenarios import SCENARIOS, Scenario
from ..drill.workers import file_store, start_worker
from ..errors import UsageError
from ..settings import POSTGRES, load_settings, without_password
from ..store.open import open_scratch_schemas
from .shared.drawn_table import open_console
from .shared.exit_codes import FAILED, OK
from .shared.options import json_option
from .shared.output import print_json, print_stderr, print_table

NAMES = [scenario.name for scenario in SCENARIOS]


@click.command("drill")
@click.argument("app", required=False)
@click.option(
    "--only", multiple=True, type=click.Choice(NAMES), help="Run only this scenario; repeatable."
)
@click.option("--list", "listing", is_flag=True, help="List the scenarios and their promises.")
@click.option(
    "--url",
    help="PostgreSQL database to drill on, in schemas that the drill makes and drops; default: a "
    "temporary SQLite store.",
)
@click.option("--keep", is_flag=True, help="Keep the temporary directory and print its path.")
@json_option
def drill_command(
    app: str | None,
    only: tuple[str, ...],
    listing: bool,
    url: str | None,
    keep: bool,
    as_json: bool,
) -> int:
    """Prove that your application's workers stop and recover as promised.

    Start real workers with the application APP, or without one, on temporary stores, and inject
    faults: SIGTERM, kill -9, SIGSTOP, a full disk, a job that kills its worker, and cancels at any
    time. Jobs and schedules of the application do not run. Exit with 1 if a promise is broken.
    """
    scenarios = _choose_scenarios(only, url)
    if listing:
        print_table(
            ("SCENARIO", "FAULT", "PROMISE"),
            [(scenario.name, scenario.title, scenario.promise) for scenario in scenarios],
        )
        return OK
    if not Path("/proc/self/environ").exists():
        raise UsageError("the drill requires /proc, which this system does not have")
    # Like Ctrl-C: only cleaning up remains to be done.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    with (
        _temporary_directory(keep=keep) as folder,
        _stores(url) as (make_store, password),
        _progress() as on_progress,
    ):
        drill = Drill(
            folder,
            app=app or str(load_settings()["app"]) or None,
            make_store=make_store,
            password=password,
            starter=partial(start_worker, password=password),
        )
        drill.check_startup()
        results = drill.run(scenarios, on_progress)
    _print_results(results, time.monotonic() - started, as_json=as_json)
    return OK if all(scenario.kept for scenario in results) else FAILED


def _choose_scenarios(only: tuple[str, ...], url: str | None) -> list[Scenario]:
    if url is not None and url.partition(":")[0] not in POSTGRES:
        raise UsageError(
            "the drill runs on a temporary SQLite store, or with --url on PostgreSQL; "
            f"got {without_password(url)!r}"
        )
    chosen = [scenario for scenario in SCENARIOS if not only or scenario.name in only]
    missing = [scenario.name for scenario in chosen if url is not None and scenario.needs_file]
    if only and missing:
        raise UsageError(f"the scenario {missing[0]!r} needs a store in a file; leave out --url")
    return [scenario for scenario in chosen if scenario.name not in missing]


@contextmanager
def _stores(url: str | None) -> Generator[tuple[Callable[[Path], str], str]]:
    """Return what makes the stores of the scenarios, and the password for them."""
    if url is None:
        yield file_store, ""
        return
    with open_scratch_schemas(url) as schemas:
        yield lambda _: schemas.make(), schemas.password


def _print_results(results: list[ScenarioResult], took: float, *, as_json: bool) -> None:
    if as_json:
        kept = all(scenario.kept for scenario in results)
        print_json({"kept": kept, "seconds": round(took, 3), "scenes": results_as_json(results)})
    elif sys.stdout.isatty():
        open_console().print(render(results))
    else:
        print_table(HEADINGS, table_rows(results))
    print_stderr(summary(results, took), *failure_details(results))


@contextmanager
def _temporary_directory(*, keep: bool) -> Generator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="conveyor-drill-"))
    try:
        yield folder
    finally:
        if keep:
            print_stderr(f"temporary directory: {folder}")
        else:
            # Leftovers of a killed worker may still be writing there.
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _progress() -> Generator[ProgressCallback]:
    """Show the progress on stderr: live on a terminal, otherwise as each scenario ends."""
    if not sys.stderr.isatty():
        yield _print_progress
        return
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    console = open_console(stderr=True)
    with Progress(*columns, console=console, transient=True) as progress:
        start = progress.add_task("starting a worker with your application", total=1)
        tasks = {
            scenario.name: progress.add_task(scenario.title, start=False, visible=False, total=1)
            for scenario in SCENARIOS
        }

        def update(scenario: Scenario, phase: Phase, kept: bool) -> None:
            progress.update(start, completed=1, visible=False)
            task = tasks[scenario.name]
            if phase == "begins":
                progress.start_task(task)
                progress.update(task, visible=True)
            else:
                mark = "kept" if kept else "NOT KEPT"
                progress.update(task, completed=1, description=f"{scenario.title}: {mark}")

        yield update


def _print_progress(scenario: Scenario, phase: Phase, kept: bool) -> None:
    if phase == "ends":
        print_stderr(f"{scenario.name}: {'kept' if kept else 'NOT KEPT'}")
