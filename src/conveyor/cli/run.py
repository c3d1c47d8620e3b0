"""`conveyor run`: a worker and, if configured, an autoscaler in one process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..client.app import Conveyor
from ..core.events import ScalerActed
from ..settings import Settings
from ..worker.event_delivery import EventDelivery
from .shared.worker_options import worker_options
from .shared.worker_process import Companion, run_worker_process

if TYPE_CHECKING:
    from ..autoscaler.status import ScalerEvent

# How long a scaler that ends waits for the handlers of its events, in seconds.
SCALER_FLUSH = 0.2


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
        delivery = EventDelivery(belt.hooks)
        runner = ScalerRunner(
            load_config(str(scaler)),
            belt.store,
            every=DEFAULT_EVERY,
            lease=lease,
            on_event=lambda event: delivery.emit(scaler_acted(event)),
        )

        async def scale() -> None:
            try:
                await runner.run()
            finally:
                await delivery.close(SCALER_FLUSH)

        return scale

    return run_worker_process(
        app, strict=strict, flags=flags, make_companion=None if scaler is None else make_scaler
    )


def scaler_acted(event: ScalerEvent) -> ScalerActed:
    """Return an action of the scaler as an event for the application's handlers."""
    return ScalerActed(
        at=event.at, did=event.did, subject=event.subject, why=event.why, count=event.count
    )
