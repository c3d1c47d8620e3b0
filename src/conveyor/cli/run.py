"""`conveyor run`: a worker and, if configured, an autoscaler in one process."""

from __future__ import annotations

from typing import Any

import click

from ..client.app import Conveyor
from ..settings import Settings
from .shared.worker_options import worker_options
from .shared.worker_process import Companion, run_worker_process


@click.command("run")
@worker_options
@click.option("--scale", "scaler", metavar="TOML", help="Also run this autoscaler configuration.")
def run_command(app: str | None, strict: bool, scaler: str | None, **flags: Any) -> int:
    def make_scaler(belt: Conveyor, settings: Settings) -> Companion:
        # Imported here because it is slow to import, and few workers need it.
        from .shared.scaler_runner import (  # noqa: PLC0415
            DEFAULT_EVERY,
            ScalerRunner,
            load_config,
        )

        lease = float(settings["lease"])
        config = load_config(str(scaler))
        return ScalerRunner(config, belt.store, every=DEFAULT_EVERY, lease=lease).run

    return run_worker_process(
        app, strict=strict, flags=flags, make_companion=None if scaler is None else make_scaler
    )
