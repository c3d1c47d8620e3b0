"""`conveyor worker`: runs jobs of an application's queues."""

from __future__ import annotations

from typing import Any

import click

from .shared.worker_options import worker_options
from .shared.worker_process import run_worker_process


@click.command("worker")
@worker_options
def worker_command(app: str | None, strict: bool, **flags: Any) -> int:
    return run_worker_process(app, strict=strict, flags=flags)
