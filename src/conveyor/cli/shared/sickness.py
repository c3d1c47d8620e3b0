"""Prints which workers cannot start jobs because of their machines."""

from __future__ import annotations

from collections.abc import Iterable

from ...core.explain import SILENT, describe_sickness
from ...core.job import WorkerInfo
from .output import print_stderr


def print_sick_workers(workers: Iterable[WorkerInfo], now: float) -> None:
    """Print a line for each live worker whose machine cannot start jobs."""
    for each in workers:
        if each.sick and now - each.beat_at <= SILENT:
            print_stderr(f"{each.id} cannot start jobs: {describe_sickness(each.sick)}")
