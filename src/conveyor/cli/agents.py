"""`conveyor agents`: like `conveyor workers`, for agents only."""

from __future__ import annotations

from typing import Any

import click

from ..core.access import is_agent
from .shared.worker_orders import list_or_order, worker_order_options


@click.command("agents")
@worker_order_options
def agents_command(as_json: bool, url: str | None, **given: Any) -> None:
    list_or_order(lambda worker: is_agent(worker.id), as_json=as_json, url=url, **given)
