"""The metrics of a server in Prometheus' formats. The only module here that needs its library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ..core.access import is_agent
from ..core.job import State, WorkerInfo
from ..core.metric_labels import label_value
from ..core.serving_workers import SILENT
from ..worker.health import DRAINING, QUIET, READY, SICK, state_of
from .metrics_snapshot import MAX_QUEUES, ScalerSnapshot, StoreSnapshot

SILENT_STATE = "silent"
KINDS = ("worker", "agent")
STATES = (READY, QUIET, DRAINING, SICK, SILENT_STATE)
MACHINES = ("booting", "idle", "busy", "draining", "other")
ENDED = (State.COMPLETED, State.CANCELLED, State.DISCARDED)


def render(snapshot: StoreSnapshot, accept: str) -> tuple[bytes, str]:
    """Return the text of the metrics, and its media type: the best that a scraper accepts."""
    encode, media = choose_encoder(accept)
    return encode(_Families(snapshot)), media


class _Families(Collector):
    """The families of metrics of one snapshot."""

    def __init__(self, snapshot: StoreSnapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        snapshot = self._snapshot
        build = GaugeMetricFamily(
            "conveyor_build_info", "Version of the server", labels=["version"]
        )
        build.add_metric([version("conveyor")], 1)
        yield build
        yield from _queues(snapshot)
        yield from _totals(snapshot)
        yield from _workers(snapshot)
        yield from _scalers(snapshot.scalers)


def _queues(snapshot: StoreSnapshot) -> Iterator[Metric]:
    jobs = GaugeMetricFamily(
        "conveyor_queue_jobs", "Jobs by queue and state", labels=["queue", "state"]
    )
    capacity = GaugeMetricFamily(
        "conveyor_queue_capacity",
        "Maximum number of waiting jobs; unbounded queues have none",
        labels=["queue"],
    )
    paused = GaugeMetricFamily(
        "conveyor_queue_paused", "1 if the queue hands out no jobs", labels=["queue"]
    )
    offers = GaugeMetricFamily(
        "conveyor_queue_offers", "Requests of producers that wait for room", labels=["queue"]
    )
    oldest = GaugeMetricFamily(
        "conveyor_queue_oldest_waiting_seconds",
        "For how long the first job that could run has waited; 0 if none waits",
        labels=["queue"],
    )
    for queue in snapshot.queues:
        name = label_value(queue.name)
        for state in State:
            jobs.add_metric([name, state], queue.counts.get(state, 0))
        if queue.capacity is not None:
            capacity.add_metric([name], queue.capacity)
        paused.add_metric([name], queue.paused)
        offers.add_metric([name], queue.offers)
        since = snapshot.oldest_at.get(queue.name, snapshot.now)
        oldest.add_metric([name], max(0.0, snapshot.now - since))
    yield from (jobs, capacity, paused, offers, oldest)
    yield GaugeMetricFamily(
        "conveyor_queues_cut",
        f"1 if there are more queues than the {MAX_QUEUES:,} that have series: the first by name",
        value=snapshot.is_cut,
    )


def _totals(snapshot: StoreSnapshot) -> Iterator[Metric]:
    enqueued = CounterMetricFamily(
        "conveyor_jobs_enqueued", "Jobs that were enqueued", labels=["queue"]
    )
    ended = CounterMetricFamily(
        "conveyor_jobs_ended", "Jobs that ended, by final state", labels=["queue", "state"]
    )
    retried = CounterMetricFamily(
        "conveyor_attempts_retried",
        "Failed attempts that were followed by a retry",
        labels=["queue"],
    )
    for queue in snapshot.queues:
        name, totals = label_value(queue.name), queue.totals
        enqueued.add_metric([name], totals.enqueued)
        retried.add_metric([name], totals.retried)
        counts = totals.completed, totals.cancelled, totals.discarded
        for state, count in zip(ENDED, counts, strict=True):
            ended.add_metric([name, state], count)
    yield from (enqueued, ended, retried)


def _workers(snapshot: StoreSnapshot) -> Iterator[Metric]:
    counts: Counter[tuple[str, str]] = Counter()
    slots: Counter[str] = Counter()
    busy: Counter[str] = Counter()
    for worker in snapshot.workers:
        if worker.slots == 0:  # a server, which only does the maintenance
            continue
        kind = KINDS[is_agent(worker.id)]
        state = _state(worker, snapshot.now)
        counts[kind, state] += 1
        if state != SILENT_STATE:
            slots[kind] += worker.slots
            busy[kind] += worker.running
    workers = GaugeMetricFamily(
        "conveyor_workers",
        "Workers by kind (agents reach the store by a server) and state",
        labels=["kind", "state"],
    )
    has = GaugeMetricFamily(
        "conveyor_slots", "Slots of workers that are not silent", labels=["kind"]
    )
    used = GaugeMetricFamily(
        "conveyor_slots_busy", "Slots in which a job runs, by the last heartbeats", labels=["kind"]
    )
    for kind in KINDS:
        for state in STATES:
            workers.add_metric([kind, state], counts[kind, state])
        has.add_metric([kind], slots[kind])
        used.add_metric([kind], busy[kind])
    yield from (workers, has, used)


def _state(worker: WorkerInfo, now: float) -> str:
    return SILENT_STATE if now - worker.beat_at >= SILENT else state_of(worker)


def _scalers(scalers: list[ScalerSnapshot]) -> Iterator[Metric]:
    leads = GaugeMetricFamily(
        "conveyor_scaler_leads", "1 if a scaler of this name leads now", labels=["scaler"]
    )
    cycle = GaugeMetricFamily(
        "conveyor_scaler_last_cycle_timestamp_seconds",
        "When the last cycle was, as Unix time",
        labels=["scaler"],
    )
    held = GaugeMetricFamily(
        "conveyor_scaler_held", "What is needed but not done, because of a limit", labels=["scaler"]
    )
    blind = GaugeMetricFamily(
        "conveyor_scaler_unreachable_providers", "Providers without an answer", labels=["scaler"]
    )
    machines = GaugeMetricFamily(
        "conveyor_scaler_machines",
        "Machines by pool and state",
        labels=["scaler", "pool", "state"],
    )
    wanted = GaugeMetricFamily(
        "conveyor_scaler_machines_wanted", "Machines that a pool needs", labels=["scaler", "pool"]
    )
    for scaler in scalers:
        name, status = label_value(scaler.name), scaler.status
        leads.add_metric([name], scaler.leads)
        if status is None:
            continue
        cycle.add_metric([name], status.at)
        held.add_metric([name], len(status.held))
        blind.add_metric([name], len(status.blind))
        for pool in status.pools:
            wanted.add_metric([name, label_value(pool.pool)], pool.wanted)
            for state in MACHINES:
                count: int = getattr(pool, state)
                machines.add_metric([name, label_value(pool.pool), state], count)
    yield from (leads, cycle, held, blind, machines, wanted)
