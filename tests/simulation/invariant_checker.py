"""Checks every change that the store makes, at the moment it is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from runs import LEASE, REACT, Key, is_held

from conveyor.core.job import FINAL, JobRecord, OutputChunk, State
from conveyor.errors import ConveyorError
from conveyor.store.messages import Hint, Report

if TYPE_CHECKING:
    from wire import Wire
    from workers import Station
    from world import World


class Deed(NamedTuple):
    """One operation that is carried out."""

    wire: Wire
    operation: str
    args: tuple[Any, ...]
    more: dict[str, Any]

    @property
    def reports(self) -> Sequence[Report]:
        return self.args[0] if self.operation in ("exchange", "settle") else ()


class Witness:
    """Stands between the wires and the store. Knows what the workers were told, and when."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen: dict[str, JobRecord] = {}
        self._chunks: dict[str, int] = {}
        self.accepted: set[str] = set()
        self.reported: set[Key] = set()
        self.told_lost: set[Key] = set()
        self.renewed: dict[Key, float] = {}
        self.confirmed: set[Key] = set()
        self.cancels: dict[str, float] = {}
        self.hints: dict[tuple[str, str], float] = {}
        self.granted: dict[Key, float] = {}

    def job(self, job_id: str) -> JobRecord | None:
        """Return a job as the store knows it."""
        return self._seen.get(job_id)

    def jobs(self) -> list[JobRecord]:
        return list(self._seen.values())

    def carry_out(self, wire: Wire, operation: str, args: Any, more: Any) -> Any:
        """Do what was asked; returns the answer, or the error that is the answer."""
        deed = Deed(wire, operation, args, more)
        try:
            answer = getattr(self._world.store, operation)(*args, **more).result()
        except ConveyorError as error:
            answer = error
        self._look(deed)
        self.reported.update((report.id, report.lease) for report in deed.reports)
        return answer

    def answered(self, wire: Wire, operation: str, args: Any, answer: Any, sent: float) -> None:
        """Note what a party was told, and when it had asked."""
        station = self._world.stations.get(wire.name)
        if station is None:
            return
        if operation == "exchange":
            for job in answer.jobs:
                station.claimed.add((job.id, job.lease))
                self.renewed[job.id, job.lease] = sent
        elif operation == "extend":
            for lease, renewal in zip(args[0], answer, strict=True):
                if renewal.verdict == "lost":
                    self.told_lost.add((lease.id, lease.lease))
                else:
                    self.renewed[lease.id, lease.lease] = sent
                    self.confirmed.add((lease.id, lease.lease))

        elif operation in ("write_output", "set_progress", "set_stopping"):
            for renewal in answer:
                if renewal.verdict == "lost":
                    self.told_lost |= {
                        key for key in _written_under(args[0]) if key[0] == renewal.id
                    }

    def hinted(self, wire: Wire, hint: Hint) -> None:
        """Note that a worker hears of a cancel for a job it has, or is just being given.

        The same hint says that an operator has removed the job's former worker.
        """
        if hint.kind != "cancel":
            return
        for job_id in hint.subjects:
            job = self.job(job_id)
            if job is None or job.cancel_requested_at is None:
                continue
            if job.state is State.RUNNING and job.worker == wire.name:
                self.hints[job_id, wire.name] = self._world.loop.now

    def left(self, station: Station) -> None:
        """Judge what a worker leaves behind that ended in good order."""
        for key in station.claimed - self.reported - self.told_lost:
            if is_held(self.job(key[0]), key):
                self._broken("left behind", f"{station.name} left with {key[0]} in its hands")
        self.untold(station)

    def untold(self, station: Station) -> None:
        """Judge whether a worker that did not crash has reported all that ended."""
        for run in self._world.runs.all.values():
            told = run.key in self.reported or run.key in self.told_lost
            if run.station is not station or told or run.ended_at is None:
                continue
            if (run.job.id, run.job.lease + 1) in station.claimed:
                continue  # claimed anew by the same worker: the older one is nobody's any more
            if run.ended_at - self.renewed[run.key] < LEASE / 2:  # else it may have fenced itself
                self._broken("untold", f"how {run} ended was never reported")

    # -- the changes ---------------------------------------------------------------------------

    def _broken(self, rule: str, text: str) -> None:
        self._world.broken(rule, text)

    def _look(self, deed: Deed) -> None:
        books = self._world.store._memory.index
        for job_id, job in books.jobs.items():
            before = self._seen.get(job_id)
            if before is not job:
                self._seen[job_id] = job
                self._changed(before, job, deed)
        if deed.operation == "write_output":
            self._check_output(books.output)

    def _changed(self, before: JobRecord | None, job: JobRecord, deed: Deed) -> None:
        if before is None:
            self._world.note("accepted", job.id, job.state.value)
            return
        if before.is_final:
            self._broken("final", f"{job.id} was {before.state} and changed: {deed.operation}")
        self._check_limits(before, job)
        running, runs = before.state is State.RUNNING, job.state is State.RUNNING
        if running and runs and (before.lease, before.worker) == (job.lease, job.worker):
            self._renewed(before, job, deed)
            return
        named = f"{job.state} {deed.operation} {deed.wire.name}"
        self._world.note("is now", job.id, named, f"lease {job.lease} attempt {job.attempt}")
        if running:
            self._ended(before, job, deed)
        if runs:
            self._claimed(before, job, deed)
        if job.state is State.CANCELLED:
            for run in self._world.runs.of(job.id):
                if not running or run.key != (before.id, before.lease):
                    self._world.runs.beside(run, f"{job.id} became cancelled")

    def _check_limits(self, before: JobRecord, job: JobRecord) -> None:
        if job.attempt > job.options.retries + 1 or job.crashes > job.options.crash_limit:
            self._broken("limits", f"{job.id}: attempt {job.attempt}, {job.crashes} crashes")
        if before.attempt and job.attempt < before.attempt - 1:
            self._broken("attempts", f"{job.id}: attempt {before.attempt} became {job.attempt}")

    def _renewed(self, before: JobRecord, job: JobRecord, deed: Deed) -> None:
        named = {(lease.id, lease.lease) for lease in _leases(deed)}
        changed = (before.lease_until, before.progress) != (job.lease_until, job.progress)
        if before.lease_until != job.lease_until:
            self.granted[job.id, job.lease] = self._world.loop.now
        if changed and (job.id, job.lease) not in named:
            self._broken("lease", f"{deed.wire.name} changed {job.id} without its lease")
        if before.cancel_requested_at is None and job.cancel_requested_at is not None:
            self.cancels[job.id] = self._world.loop.now
            self._world.note("to be cancelled", job.id)

    def _claimed(self, before: JobRecord, job: JobRecord, deed: Deed) -> None:
        self.granted[job.id, job.lease] = self._world.loop.now
        if before.state is State.RUNNING and not self._reports(before, deed):
            self._broken("claim", f"{job.id} was handed out while it was running")
        if job.lease != before.lease + 1:
            self._broken("claim", f"{job.id}: lease {before.lease} became {job.lease}")
        if before.state is not State.RUNNING and job.attempt != before.attempt + 1:
            self._broken("attempts", f"{job.id}: the claim made {before.attempt} {job.attempt}")

    def _ended(self, before: JobRecord, job: JobRecord, deed: Deed) -> None:
        if before.cancel_requested_at is not None and not job.is_final:
            self._broken("cancel", f"{job.id} was to be cancelled and is {job.state} again")
        if deed.operation == "rescue":
            self._rescued(before, job, deed)
        elif deed.operation == "dismiss":
            self._dismissed(before, job, deed)
        elif self._reports(before, deed):
            self._settled(before, job, deed)
        else:
            self._broken("settle", f"{deed.operation} of {deed.wire.name} ended {job.id}")
        # A job that is released may be found expired by the claim in the same transaction.
        expired = job.state is State.DISCARDED and (job.error or "").startswith("Expired")
        if (job.state in FINAL and not expired) or job.state is State.RETRYABLE:
            expected = before.attempt
        else:
            expected = before.attempt - (job.state is not State.RUNNING)
        if job.attempt != expected:
            self._broken("attempts", f"{job.id}: {before.attempt} is now {job.attempt}")

    def _reports(self, before: JobRecord, deed: Deed) -> bool:
        return any((each.id, each.lease) == (before.id, before.lease) for each in deed.reports)

    def _settled(self, before: JobRecord, job: JobRecord, deed: Deed) -> None:
        world, key = self._world, (before.id, before.lease)
        run = world.runs.all.get(key)
        if before.worker != deed.wire.name:
            self._broken("settle", f"{deed.wire.name} settled {job.id} of {before.worker}")
        how = "never began" if run is None else run.how
        allowed = {State.COMPLETED: ("returned",), State.RETRYABLE: ("raised", "stopped")}
        told = run is not None and run.asked_at is not None and job.state is not State.COMPLETED
        if how not in allowed.get(job.state, (how,)) and not told:
            self._broken("made up", f"{job.id} is {job.state}, but its code {how or 'still runs'}")
        if run is not None and run.ended_at is None:
            leaving = run.station.leave_by is not None and run.asked_at is not None
            rule = "abandoned" if leaving else "settled early"
            run.abandoned, run.stale_at = rule == "abandoned", world.loop.now
            self._broken(rule, f"{job.id} was reported {job.state} while its code ran ({run})")

    def _rescued(self, before: JobRecord, job: JobRecord, deed: Deed) -> None:
        world, key = self._world, (before.id, before.lease)
        station = world.stations[before.worker or ""]
        dead = before.worker in deed.more.get("dead", ())
        if dead and not station.process.gone:
            self._broken("alive", f"{station.name} was called dead and is not")
        elif not dead and (before.lease_until or 0.0) >= world.clock.now():
            self._broken("rescue", f"{job.id} was rescued from a lease that had not ended")
        elif not dead and not self._may_lapse(station, key):
            self._broken("lapse", f"{station.name} let the lease of {job.id} end without a cause")
        if before.cancel_requested_at is None:
            self._check_blame(before, job, dead=dead)
        run = world.runs.still(key)
        if run is not None:
            run.lapsed, run.stale_at = True, world.loop.now
            if job.state is State.CANCELLED:
                world.runs.beside(run, f"{job.id} became cancelled")
        self._check_poison(job)

    def _dismissed(self, before: JobRecord, job: JobRecord, deed: Deed) -> None:
        if before.worker != deed.args[0]:
            self._broken("dismissal", f"{job.id} is of {before.worker}: {deed.args[0]} was removed")
        crashes = before.crashes + (before.started_at is not None)
        if before.cancel_requested_at is None and job.crashes != crashes:
            self._broken("crashes", f"{job.id}: {before.crashes} became {job.crashes} crashes")
        run = self._world.runs.still((before.id, before.lease))
        if run is not None:
            run.revoked, run.stale_at = True, self._world.loop.now
        self._check_poison(job)

    def _check_poison(self, job: JobRecord) -> None:
        begun = sum(each[0] == job.id for each in self._world.runs.all)
        if job.state is State.DISCARDED and begun < job.options.crash_limit:
            self._broken("blame", f"{job.id} is called poison, but began {begun} times only")

    def _check_blame(self, before: JobRecord, job: JobRecord, *, dead: bool) -> None:
        run = self._world.runs.all.get((before.id, before.lease))
        crashes = job.crashes - before.crashes
        if before.started_at is None:
            if crashes or run is not None:
                self._broken("crashes", f"{job.id}: its claim was never confirmed ({run})")
            return
        # What was asked before a crash may be carried out after it: the board still blames those.
        ever = any(
            each.job.id == job.id and each.station.name == before.worker and each.how == "died"
            for each in self._world.runs.all.values()
        )
        # A child that was just being told of its job, or that had just ended, may be blamed or not.
        innocent = dead and not ever and before.task == "work"
        guilty = not dead or (run is not None and run.how == "died")
        if (crashes and innocent) or (guilty and crashes != 1):
            self._broken("crashes", f"{job.id}: {before.crashes} became {job.crashes} crashes")

    def _may_lapse(self, station: Station, key: Key) -> bool:
        world = self._world
        if station.process.gone or station.process.frozen or key not in station.claimed:
            return True
        since = max(station.able_at(), world.jumped_at, self.granted[key])
        return world.loop.now - since <= REACT

    def _check_output(self, output: Any) -> None:
        for job_id, chunks in output.items():
            known = self._chunks.get(job_id, 0)
            self._chunks[job_id] = len(chunks)
            for chunk in chunks[known:]:
                if not is_held(self.job(job_id), (job_id, chunk.lease)):
                    self._broken("output", f"{job_id}: output under the stale {chunk.lease}")


def _leases(deed: Deed) -> list[Any]:
    match deed.operation:
        case "extend":
            return list(deed.args[0])
        case "set_progress":
            return [lease for lease, _ in deed.args[0]]
        case _:
            return []


def _written_under(said: Sequence[Any]) -> set[tuple[str, int]]:
    """Return under which leases something was said."""
    return {
        (each.job_id, each.lease) if isinstance(each, OutputChunk) else (each[0].id, each[0].lease)
        for each in said
    }
