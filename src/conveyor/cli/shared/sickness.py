"""Prints which workers cannot run jobs: because of their machines, or of their code."""

from __future__ import annotations

from collections.abc import Iterable

from ...core.explain import describe_unsupported
from ...core.job import WorkerInfo
from ...core.serving_workers import SILENT, describe_sickness
from .output import print_stderr


def print_sick_workers(workers: Iterable[WorkerInfo], now: float) -> None:
    """Print a line for each live worker whose machine or code cannot run jobs."""
    for each in workers:
        if now - each.beat_at > SILENT:
            continue
        if each.sick:
            print_stderr(f"{each.id} cannot start jobs: {describe_sickness(each.sick)}")
        if each.unsupported:
            print_stderr(
                f"{each.id} has other code than its jobs, and returned those of "
                f"{describe_unsupported(each.unsupported)}; deploy one version to all workers"
            )
