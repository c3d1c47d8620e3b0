"""Serves the metrics of a worker at the port that the settings name, if they do."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from ...errors import UsageError
from ...settings import Settings
from ...worker.metrics_server import MetricsServer
from ...worker.worker import Worker
from .output import print_stderr


@contextmanager
def served_metrics(worker: Worker, settings: Settings) -> Generator[None]:
    """Serve the metrics within the context; UsageError if that is not possible."""
    metrics = worker.parts.metrics
    if metrics is None:
        yield
        return
    try:
        # An optional library, which takes a while to import.
        from ...worker.metrics_exposition import WorkerExposition  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UsageError(
            "metrics_port needs prometheus-client: install it with `pip install conveyor[metrics]`"
        ) from error
    host, port = str(settings["metrics_host"]), int(settings["metrics_port"])
    with MetricsServer(host, port, WorkerExposition(metrics.read).render) as server:
        shown = f"[{server.host}]" if ":" in server.host else server.host
        print_stderr(f"metrics of worker {worker.id}: http://{shown}:{server.port}/metrics")
        yield
