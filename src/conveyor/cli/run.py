"""`conveyor run`: everything an application needs, in one process tree."""

from __future__ import annotations

from typing import Any

import click

from ..client.app import Conveyor
from ..settings import Settings
from .shared.worker_options import worker_options
from .shared.worker_process import Companion, run_worker_process


@click.command("run")
@worker_options
@click.option("--scale", "scaler", metavar="TOML", help="Be the scaler of this file, too.")
def run_command(app: str | None, strict: bool, scaler: str | None, **flags: Any) -> int:
    def make_scaler(belt: Conveyor, settings: Settings) -> Companion:
        # Imported here because it is slow to import, and few workers need it.
        from .shared.scaler_thread import EVERY, Fleet, configuration  # noqa: PLC0415

        lease = float(settings["lease"])
        return Fleet(configuration(str(scaler)), belt.store, every=EVERY, lease=lease).run

    return run_worker_process(
        app, strict=strict, flags=flags, make_companion=None if scaler is None else make_scaler
    )
