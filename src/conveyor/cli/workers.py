"""`conveyor workers`: lists workers, and pauses, resumes, drains or removes them."""

from __future__ import annotations

from typing import Any

import click

from .shared.worker_orders import list_or_order, worker_order_options


@click.command("workers")
@worker_order_options
def workers_command(as_json: bool, url: str | None, **given: Any) -> None:
    list_or_order(lambda _worker: True, as_json=as_json, url=url, **given)
