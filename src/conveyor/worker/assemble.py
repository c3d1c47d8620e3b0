"""Makes the parts of a worker and joins them. A test may replace single parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from ..core import clock
from ..core.access import agent_suffix
from ..core.around import check_importable
from ..core.event_log import open_event_log
from ..core.hooks import Hooks
from ..core.job import WorkerInfo
from ..core.retry_on import unknown_name
from ..core.storable import bounded_worker
from ..core.task import Kind, Task
from ..maintenance.loop import MaintenanceLoop, maintenance_loop
from ..maintenance.rescuer import Rescuer
from ..maintenance.schedule_ticker import Schedule
from ..runners.caller_completion import CallerCompletions
from ..runners.capture import OutputBuffer
from ..runners.job_control import Runner
from ..runners.runner_table import Runners
from ..runners.workdir import WorkdirRoot
from ..store.messages import CONFIRM, Claimant
from ..store.protocol import Store
from ..store.worker_status import check_remote_worker
from ..system.crash_journal import CrashJournal
from ..system.process_identity import worker_id, worker_info
from ..tracing.active import active_spans
from .attempt_metrics import AttemptMetrics
from .attempt_spans import AttemptSpans
from .cancellation import LeaseVerdicts
from .claim_confirmer import ClaimConfirmer
from .dispatcher import Dispatcher
from .event_delivery import EventDelivery
from .held_jobs import HeldJobs
from .job_events import JobEvents
from .job_files import runners_with_files
from .lease_renewer import LeaseRenewer
from .machine_probe import MachineProbe
from .metrics_snapshot import WorkerMetrics
from .observed_runners import AttemptObserver, observed_runners
from .options import WorkerOptions
from .output_sender import OutputSender
from .shutdown import WorkerShutdown
from .sidecar import Sidecar
from .stack_reporter import StackReporter

log = open_event_log("worker")


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerParts:
    """What a worker is made of."""

    info: WorkerInfo
    options: WorkerOptions
    store: Store
    held: HeldJobs
    dispatcher: Dispatcher
    machine: MachineProbe
    maintenance: MaintenanceLoop
    runners: Runners
    workdir_root: WorkdirRoot
    journal: CrashJournal | None
    sidecar: Sidecar
    shutdown: WorkerShutdown
    stacks: StackReporter
    metrics: WorkerMetrics | None
    delivery: EventDelivery


class Assembly:
    """Makes the parts of one worker; a test overrides what it replaces.

    `elapsed` is a monotonic clock that counts the time in which the machine slept. `confirm_within`
    is how long, in seconds, a claim may stay unconfirmed where answers can be lost.
    """

    elapsed: Callable[[], float] = staticmethod(clock.elapsed)
    confirm_within = CONFIRM
    held_jobs: type[HeldJobs] = HeldJobs
    lease_verdicts: type[LeaseVerdicts] = LeaseVerdicts
    lease_renewer: type[LeaseRenewer] = LeaseRenewer
    claim_confirmer: type[ClaimConfirmer] = ClaimConfirmer
    dispatcher: type[Dispatcher] = Dispatcher
    shutdown: type[WorkerShutdown] = WorkerShutdown

    def __init__(
        self,
        *,
        store: Store,
        tasks: Mapping[str, Task],
        options: WorkerOptions,
        schedules: Sequence[Schedule] = (),
        hooks: Hooks | None = None,
    ) -> None:
        labels = options.commands.label(options.labels)
        self.options = msgspec.structs.replace(options, labels=labels)
        self.store = store
        self.tasks = tasks
        self.schedules = schedules
        self.hooks = hooks or Hooks()

    def parts(self) -> WorkerParts:
        """Make all parts and join them."""
        store, options, held = self.store, self.options, self.held_jobs()
        _warn_about_unknown_errors(self.tasks)
        _check_arounds(self.tasks)
        info = self.make_info()
        if store.is_server:
            check_remote_worker(info)
        bounded_worker(info)  # raises if no store would keep its heartbeats
        journal = self.make_journal(info.id)
        workdir_root = WorkdirRoot()
        runners = self.make_runners()
        with_files = runners_with_files(runners, store=store, workdir_root=workdir_root)
        machine = MachineProbe(runners=with_files, elapsed=self.elapsed)
        output = OutputBuffer()
        verdicts = self.lease_verdicts(held, fence_grace=options.lease_for / 10)
        leases = self._make_leases(held, verdicts)
        attempts = self._make_attempts(output) if options.measured else None
        delivery = EventDelivery(self.hooks)
        events = JobEvents(delivery, worker=info.id, now=store.now, elapsed=self.elapsed)
        held.on_left = events.forget
        dispatcher = self._make_dispatcher(
            worker=info.id,
            held=held,
            runners=observed_runners(with_files, self._make_observers(attempts)),
            journal=journal,
            machine=machine,
            output=output,
            verdicts=verdicts,
            leases=leases,
            events=events,
        )
        maintenance = self._make_maintenance(info, held, dispatcher, journal)
        _pass_on(maintenance, events)
        return WorkerParts(
            info=info,
            options=options,
            store=store,
            held=held,
            dispatcher=dispatcher,
            machine=machine,
            maintenance=maintenance,
            runners=runners,
            workdir_root=workdir_root,
            journal=journal,
            sidecar=self._make_sidecar(info.id, held, journal),
            stacks=StackReporter(store=store, worker=info.id, held=held),
            shutdown=self.shutdown(
                store=store,
                worker=info.id,
                dispatcher=dispatcher,
                held=held,
                journal=journal,
                events=events,
            ),
            metrics=_metrics(info, attempts, held, leases, dispatcher, delivery),
            delivery=delivery,
        )

    def _make_sidecar(self, worker: str, held: HeldJobs, journal: CrashJournal | None) -> Sidecar:
        return Sidecar(
            store=self.store,
            worker=worker,
            lease_for=self.options.lease_for,
            slots=self.options.slots,
            journal=journal,
            held=held,
            enabled=self.options.keep and self.store.is_multi_process,
        )

    def make_info(self) -> WorkerInfo:
        """Describe the worker, with a new id."""
        options = self.options
        return worker_info(
            worker_id() + agent_suffix(self.store.secret),
            now=self.store.now(),
            slots=options.slots,
            queues=tuple(name for name, _ in options.queues),
            labels=tuple(sorted(options.labels)),
            release=options.release,
        )

    def make_journal(self, worker: str) -> CrashJournal | None:
        """Make the crash journal, if another process can read it once this one is dead."""
        if not self.store.is_multi_process:
            return None
        return CrashJournal(self.store.folder, worker, self.options.slots)

    def make_runners(self) -> Runners:
        """Make the runners of all kinds."""
        options = self.options
        return Runners(
            slots=options.slots,
            max_jobs=options.max_jobs_per_process,
            max_rss_mb=options.max_rss_mb,
            lease_for=options.lease_for,
            commands=options.commands,
        )

    def make_rescuer(self, worker: str) -> Rescuer:
        """Make what rescues the jobs of dead workers."""
        return Rescuer(self.store, worker=worker, elapsed=self.elapsed)

    def _make_leases(self, held: HeldJobs, verdicts: LeaseVerdicts) -> LeaseRenewer:
        return self.lease_renewer(
            store=self.store,
            held=held,
            verdicts=verdicts,
            lease_for=self.options.lease_for,
            fences=self.store.can_be_partitioned,
            elapsed=self.elapsed,
        )

    def _make_observers(self, attempts: AttemptMetrics | None) -> list[AttemptObserver]:
        observers: list[AttemptObserver] = [] if attempts is None else [attempts]
        return [AttemptSpans(), *observers] if active_spans() else observers

    def _make_attempts(self, output: OutputBuffer) -> AttemptMetrics:
        return AttemptMetrics(now=self.store.now, elapsed=self.elapsed, written=output.written)

    def _make_dispatcher(
        self,
        *,
        worker: str,
        held: HeldJobs,
        runners: Mapping[Kind, Runner],
        journal: CrashJournal | None,
        machine: MachineProbe,
        output: OutputBuffer,
        verdicts: LeaseVerdicts,
        leases: LeaseRenewer,
        events: JobEvents,
    ) -> Dispatcher:
        store, options = self.store, self.options
        within = self.confirm_within if store.answers_can_be_lost else None
        return self.dispatcher(
            completions=CallerCompletions(store),
            events=events,
            machine=machine,
            store=store,
            claimant=Claimant(worker, options.lease_for, options.labels, within),
            tasks=self.tasks,
            runners=runners,
            output=output,
            held=held,
            leases=leases,
            confirmer=self.claim_confirmer(
                held=held, leases=leases, within=within or 0.0, elapsed=self.elapsed
            ),
            sender=OutputSender(
                store=store,
                output=output,
                held=held,
                verdicts=verdicts,
                keeps_call_order=store.keeps_call_order,
                elapsed=self.elapsed,
            ),
            journal=journal,
            options=options,
            elapsed=self.elapsed,
        )

    def _make_maintenance(
        self, info: WorkerInfo, held: HeldJobs, dispatcher: Dispatcher, journal: CrashJournal | None
    ) -> MaintenanceLoop:
        options = self.options

        def describe() -> WorkerInfo:
            return msgspec.structs.replace(
                info,
                begun="" if journal is None else journal.name,
                running=len(held.running),
                finished=held.finished,
                draining=dispatcher.draining,
                quiet=dispatcher.quiet,
                sick=dispatcher.sick,
                unsupported=dict(held.unsupported),
                waits=held.waits,
            )

        return maintenance_loop(
            self.store,
            describe,
            schedules=self.schedules,
            tasks=[task.defaults for task in self.tasks.values() if task.kind != "command"],
            retention=options.retention,
            rescuer=self.make_rescuer(info.id),
            # An expired lease must be noticed soon, compared to its own length.
            sweep_every=min(options.beat, options.lease_for / 4),
            is_shared=True,
            elapsed=self.elapsed,
            after_round=options.on_round,
        )


def _check_arounds(tasks: Mapping[str, Task]) -> None:
    for task in tasks.values():
        if task.kind == "process":
            for around in task.arounds:
                check_importable(around)


def _warn_about_unknown_errors(tasks: Mapping[str, Task]) -> None:
    for task in tasks.values():
        for name in task.options.retry_on:
            reason = unknown_name(name)
            if reason is not None:
                log.warning("task.retry_on task=%s name=%s error=%s", task.name, name, reason)


def _pass_on(maintenance: MaintenanceLoop, events: JobEvents) -> None:
    """Have maintenance tell of the jobs that it ends."""
    maintenance.on_discard = events.discarded
    maintenance.rescuer.on_rescued = events.rescued
    maintenance.rescuer.on_discard = events.discarded


def _metrics(
    info: WorkerInfo,
    attempts: AttemptMetrics | None,
    held: HeldJobs,
    leases: LeaseRenewer,
    dispatcher: Dispatcher,
    delivery: EventDelivery,
) -> WorkerMetrics | None:
    if attempts is None:
        return None
    return WorkerMetrics(
        info=info,
        attempts=attempts,
        held=held,
        leases=leases,
        dispatcher=dispatcher,
        delivery=delivery,
    )
