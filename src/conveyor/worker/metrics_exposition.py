"""The metrics of a worker in Prometheus' formats. The only module here that needs its library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ..core.metric_labels import OTHER, label_value
from .attempt_metrics import BUCKETS, MAX_PAIRS, AttemptMetrics, Histogram
from .health import DRAINING, QUIET, READY, SICK
from .metrics_snapshot import WorkerSnapshot

NAMES = ["queue", "task"]
LIMIT = f"; beyond {MAX_PAIRS} pairs of queue and task all count as {OTHER}"


class WorkerExposition:
    """Renders the metrics of a worker, and those of its process. Any thread may call it."""

    def __init__(self, read: Callable[[], WorkerSnapshot]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_WorkerCollector(read))
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the text, and its media type: the best that a scraper accepts."""
        encode, media = choose_encoder(accept)
        return encode(self._registry), media


class _WorkerCollector(Collector):
    def __init__(self, read: Callable[[], WorkerSnapshot]) -> None:
        self._read = read

    def describe(self) -> list[Metric]:
        return []  # else the registry would collect, to learn the names

    def collect(self) -> Iterator[Metric]:
        snapshot = self._read()
        yield from _attempts(snapshot.attempts)
        yield from _slots(snapshot)
        yield from _leases(snapshot)
        yield from _events(snapshot)


def _attempts(metrics: AttemptMetrics) -> Iterator[Metric]:
    waiting = HistogramMetricFamily(
        "conveyor_worker_waiting_seconds",
        f"From when an attempt could have run until it started{LIMIT}",
        labels=NAMES,
    )
    running = HistogramMetricFamily(
        "conveyor_worker_running_seconds", f"How long attempts ran{LIMIT}", labels=NAMES
    )
    attempts = CounterMetricFamily(
        "conveyor_worker_attempts",
        "Attempts that ended here, by outcome",
        labels=[*NAMES, "outcome"],
    )
    output = CounterMetricFamily(
        "conveyor_worker_output_bytes",
        "Output that was kept of attempts that ended here",
        labels=NAMES,
    )
    for names, counts in list(metrics.counts.items()):
        labels = [label_value(name) for name in names]
        _add(waiting, labels, counts.waiting)
        _add(running, labels, counts.running)
        output.add_metric(labels, counts.output_bytes)
        for outcome, count in counts.outcomes.items():
            attempts.add_metric([*labels, outcome], count)
    yield from (waiting, running, attempts, output)
    yield CounterMetricFamily(
        "conveyor_worker_attempts_beyond_limit",
        f"Attempts that count as {OTHER} because {MAX_PAIRS} pairs of queue and task have series",
        value=metrics.names.beyond,
    )


def _add(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    counts = list(accumulate(histogram.counts))
    bounds = [*map(str, BUCKETS), "+Inf"]
    buckets = list(zip(bounds, map(float, counts), strict=True))
    family.add_metric(labels, buckets, sum_value=histogram.total)


def _slots(snapshot: WorkerSnapshot) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "conveyor_worker_info", "The worker and its version", labels=["worker", "version"]
    )
    info.add_metric([label_value(snapshot.worker), snapshot.version], 1)
    state = GaugeMetricFamily(
        "conveyor_worker_state", "1 for the state that the worker is in", labels=["state"]
    )
    for each in (READY, QUIET, DRAINING, SICK):
        state.add_metric([each], each == snapshot.state)
    yield from (info, state)
    for name, about, value in (
        ("conveyor_worker_slots", "How many jobs run at once, at most", snapshot.slots),
        ("conveyor_worker_slots_busy", "Slots in which a job runs", snapshot.busy),
        (
            "conveyor_worker_jobs_ready",
            "Jobs that were claimed and wait for a slot",
            snapshot.ready,
        ),
        (
            "conveyor_worker_reports_waiting",
            "Outcomes that the store has not accepted yet",
            snapshot.unreported,
        ),
    ):
        yield GaugeMetricFamily(name, about, value=value)


def _leases(snapshot: WorkerSnapshot) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "conveyor_worker_lease_renewals_late",
        "Leases that were renewed after more than half of them had passed, instead of a quarter",
        value=snapshot.late_renewals,
    )
    yield CounterMetricFamily(
        "conveyor_worker_lease_renewals_failed",
        "Calls to renew leases that the store did not answer",
        value=snapshot.failed_renewals,
    )


def _events(snapshot: WorkerSnapshot) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "conveyor_worker_events_dropped",
        "Events that no handler got, because too many waited or the worker ended",
        value=snapshot.dropped_events,
    )
