"""`conveyor drill`: proves that the user's workers stop and recover as promised."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..drill.report import HEADINGS, failure_details, render, results_as_json, summary, table_rows
from ..drill.runner import Drill, Phase, ProgressCallback, ScenarioResult
from ..drill.scenarios import SCENARIOS, Scenario
from ..errors import UsageError
from ..settings import load_settings
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
@click.option("--keep", is_flag=True, help="Keep the temporary directory and print its path.")
@json_option
def drill_command(
    app: str | None, only: tuple[str, ...], listing: bool, keep: bool, as_json: bool
) -> int:
    """Prove that your application's workers stop and recover as promised.

    Start real workers with the application APP, or without one, on a temporary store, and inject
    faults: SIGTERM, kill -9, SIGSTOP, a full disk, a job that kills its worker, and cancels at any
    time. Jobs and schedules of the application do not run. Exit with 1 if a promise is broken.
    """
    scenarios = [scenario for scenario in SCENARIOS if not only or scenario.name in only]
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
    with _temporary_directory(keep=keep) as folder, _progress() as on_progress:
        drill = Drill(folder, app=app or str(load_settings()["app"]) or None)
        drill.check_startup()
        results = drill.run(scenarios, on_progress)
    _print_results(results, time.monotonic() - started, as_json=as_json)
    return OK if all(scenario.kept for scenario in results) else FAILED


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
