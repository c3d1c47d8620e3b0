"""What the metrics of a worker show of it at one moment."""

from __future__ import annotations

from importlib.metadata import version

import msgspec

from ..core.job import WorkerInfo
from .attempt_metrics import AttemptMetrics
from .dispatcher import Dispatcher
from .event_delivery import EventDelivery
from .health import state_of
from .held_jobs import HeldJobs
from .lease_renewer import LeaseRenewer


class WorkerSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a worker. The numbers of leases and events only grow while it runs."""

    worker: str
    version: str
    state: str
    slots: int
    busy: int
    ready: int
    unreported: int
    late_renewals: int
    failed_renewals: int
    dropped_events: int
    attempts: AttemptMetrics


class WorkerMetrics:
    """The sources of the metrics of the worker that `info` describes. Any thread may read them."""

    def __init__(
        self,
        *,
        info: WorkerInfo,
        attempts: AttemptMetrics,
        held: HeldJobs,
        leases: LeaseRenewer,
        dispatcher: Dispatcher,
        delivery: EventDelivery,
    ) -> None:
        self._info, self._attempts = info, attempts
        self._held, self._leases, self._dispatcher = held, leases, dispatcher
        self._delivery = delivery

    def read(self) -> WorkerSnapshot:
        """Return what is to be seen now."""
        held, leases, dispatcher = self._held, self._leases, self._dispatcher
        info = msgspec.structs.replace(
            self._info, draining=dispatcher.draining, quiet=dispatcher.quiet, sick=dispatcher.sick
        )
        return WorkerSnapshot(
            worker=info.id,
            version=version("conveyor"),
            state=state_of(info),
            slots=info.slots,
            busy=len(held.running),
            ready=held.ready,
            unreported=held.unreported,
            late_renewals=leases.late,
            failed_renewals=leases.failed,
            dropped_events=self._delivery.dropped,
            attempts=self._attempts,
        )
