"""`conveyor run`: a worker, the dashboard and, if configured, an autoscaler in one process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from ..client.app import Conveyor
from ..core.events import ScalerActed
from ..settings import Settings
from ..worker.event_delivery import EventDelivery
from .shared.run_dashboard import RunDashboard
from .shared.worker_options import worker_options
from .shared.worker_process import Companion, run_worker_process

if TYPE_CHECKING:
    from ..autoscaler.status import ScalerEvent

# How long a scaler that ends waits for the handlers of its events, in seconds.
SCALER_FLUSH = 0.2


@click.command("run")
@worker_options
@click.option("--scale", "scaler", metavar="TOML", help="Also run this autoscaler configuration.")
@click.option(
    "--dashboard",
    metavar="[HOST:]PORT",
    help="Where to serve the dashboard; auto (7410 or any free port of this machine) or off.",
)
def run_command(app: str | None, strict: bool, scaler: str | None, **flags: Any) -> int:
    def make_companion(belt: Conveyor, settings: Settings) -> Companion | None:
        scale = None if scaler is None else _scaler(belt, settings, scaler)
        dashboard = RunDashboard(belt, settings)
        if not dashboard.check():
            return scale

        async def run_both() -> None:
            async with dashboard.serving():
                await (scale or asyncio.Event().wait)()

        return run_both

    return run_worker_process(app, strict=strict, flags=flags, make_companion=make_companion)


def _scaler(belt: Conveyor, settings: Settings, path: str) -> Companion:
    # Imported here because it is slow to import, and few workers need it.
    from .shared.scaler_runner import DEFAULT_EVERY, ScalerRunner, load_config  # noqa: PLC0415

    delivery = EventDelivery(belt.hooks)
    runner = ScalerRunner(
        load_config(path),
        belt.store,
        every=DEFAULT_EVERY,
        lease=float(settings["lease"]),
        on_event=lambda event: delivery.emit(scaler_acted(event)),
    )

    async def scale() -> None:
        try:
            await runner.run()
        finally:
            await delivery.close(SCALER_FLUSH)

    return scale


def scaler_acted(event: ScalerEvent) -> ScalerActed:
    """Return an action of the scaler as an event for the application's handlers."""
    return ScalerActed(
        at=event.at, did=event.did, subject=event.subject, why=event.why, count=event.count
    )
