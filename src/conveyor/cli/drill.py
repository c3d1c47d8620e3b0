"""`conveyor drill`: the user's own program proves that it stops and recovers as promised."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..drill.report import HEADINGS, as_data, drawn, lines, stories, verdict
from ..drill.runner import Drill, Phase, Played, Told
from ..drill.scenarios import SCENES, Scene
from ..errors import UsageError
from ..settings import load_settings
from .shared.exit_codes import FAILED, OK
from .shared.options import json_option
from .shared.output import print_json, print_stderr, print_table

NAMES = [scene.name for scene in SCENES]


@click.command("drill")
@click.argument("app", required=False)
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="This scene; repeatable.")
@click.option("--list", "listing", is_flag=True, help="List the scenes and their promises.")
@click.option("--keep", is_flag=True, help="Keep the scratch folder, and say where it is.")
@json_option
def drill_command(
    app: str | None, only: tuple[str, ...], listing: bool, keep: bool, as_json: bool
) -> int:
    """Prove on your own program that it stops and recovers as promised.

    Starts real workers with the application APP (without one: with none) on a scratch store, and
    does the worst to them: SIGTERM, kill -9, SIGSTOP, a full disk, a job that kills its worker,
    and cancels at any time. No job or schedule of the application runs. Exits with 1 where what
    happened differs from what was promised.
    """
    scenes = [scene for scene in SCENES if not only or scene.name in only]
    if listing:
        print_table(
            ("SCENE", "WHAT IS DONE", "PROMISED"),
            [(scene.name, scene.title, scene.promise) for scene in scenes],
        )
        return OK
    if not Path("/proc/self/environ").exists():
        raise UsageError("the drill looks at processes through /proc, which this system lacks")
    # As Ctrl-C does: to end what was started is all that is left to do.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    begun = time.monotonic()
    with _scratch(keep=keep) as folder, _progress() as tell:
        drill = Drill(folder, app=app or str(load_settings()["app"]) or None)
        drill.rehearse()
        played = drill.play(scenes, tell)
    _show(played, time.monotonic() - begun, as_json=as_json)
    return OK if all(scene.kept for scene in played) else FAILED


def _show(played: list[Played], took: float, *, as_json: bool) -> None:
    said = "\n".join([verdict(played, took), *stories(played)])
    if as_json:
        kept = all(scene.kept for scene in played)
        print_json({"kept": kept, "seconds": round(took, 3), "scenes": as_data(played)})
    elif sys.stdout.isatty():
        Console(no_color="NO_COLOR" in os.environ, highlight=False).print(drawn(played))
    else:
        print_table(HEADINGS, lines(played))
    print_stderr(said)


@contextmanager
def _scratch(*, keep: bool) -> Generator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="conveyor-drill-"))
    try:
        yield folder
    finally:
        if keep:
            print_stderr(f"the scratch folder is {folder}")
        else:
            # What a killed worker leaves behind may still be at its last words in there.
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _progress() -> Generator[Told]:
    """Say on stderr what goes on: as it goes on a terminal, else when a scene has ended."""
    if not sys.stderr.isatty():
        yield _tell_plainly
        return
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    console = Console(stderr=True, no_color="NO_COLOR" in os.environ)
    with Progress(*columns, console=console, transient=True) as progress:
        start = progress.add_task("starting a worker with your application", total=1)
        tasks = {
            scene.name: progress.add_task(scene.title, start=False, visible=False, total=1)
            for scene in SCENES
        }

        def tell(scene: Scene, phase: Phase, kept: bool) -> None:
            progress.update(start, completed=1, visible=False)
            task = tasks[scene.name]
            if phase == "begins":
                progress.start_task(task)
                progress.update(task, visible=True)
            else:
                mark = "kept" if kept else "NOT KEPT"
                progress.update(task, completed=1, description=f"{scene.title}: {mark}")

        yield tell


def _tell_plainly(scene: Scene, phase: Phase, kept: bool) -> None:
    if phase == "ends":
        print_stderr(f"{scene.name}: {'kept' if kept else 'NOT KEPT'}")
