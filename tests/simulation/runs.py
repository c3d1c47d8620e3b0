"""The truth about the jobs' code: where it runs, since when, and whether it stops when it must."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from loop import Process

from conveyor.core.job import JobRecord, State

if TYPE_CHECKING:
    from workers import Station
    from world import World

LEASE = 6.0
# How long a claim lasts that its worker has not confirmed.
CONFIRM = 4.0
# A renewal comes every quarter of a lease, noticed at most a second late, and one way there.
REACT = LEASE / 4 + 1.0 + 1.0
# What a loop may take to do what it should do at once.
SOON = 1.0

Key = tuple[str, int]


@dataclass(eq=False)
class Run:
    """The code of one job under one lease. `stubborn` is how long it goes on once told to stop.

    `lapsed`: its lease ended. `revoked`: an operator took its lease away, which a worker can only
    learn afterwards.
    """

    job: JobRecord
    station: Station
    process: Process
    began_at: float
    stubborn: float
    asked_at: float | None = None
    asked_why: str = ""
    ended_at: float | None = None
    how: str = ""
    stale_at: float | None = None
    lapsed: bool = False
    revoked: bool = False
    abandoned: bool = False

    @property
    def key(self) -> Key:
        return self.job.id, self.job.lease

    @property
    def awake(self) -> bool:
        return not (self.process.frozen or self.station.process.frozen)

    def __str__(self) -> str:
        return f"{self.job.id} under lease {self.job.lease} on {self.station.name}"


class Runs:
    """Every piece of job code that runs or has run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.all: dict[Key, Run] = {}
        self.live: dict[Key, Run] = {}

    def of(self, job_id: str) -> list[Run]:
        """Return what runs of a job right now."""
        return [run for run in self.live.values() if run.job.id == job_id]

    def begin(self, job: JobRecord, station: Station, process: Process, stubborn: float) -> Run:
        world = self._world
        run = Run(job, station, process, world.loop.now, stubborn)
        world.note("begins", job.id, job.lease, station.name)
        if run.key in self.all:
            world.broken("twice", f"{run} began for the second time")
        self._check_begin(run)
        self.all[run.key] = self.live[run.key] = run
        return run

    def _check_begin(self, run: Run) -> None:
        world, what = self._world, f"{run.job.id} began on {run.station.name}"
        if run.key not in world.witness.confirmed:
            world.broken("unconfirmed", f"{what} before the store had confirmed its claim")
        since = world.loop.now - world.witness.renewed[run.key]
        # A child process that was being started when all stood still begins when all goes on.
        starting = run.process is not run.station.process
        if since > LEASE and not (starting and world.loop.now - run.station.woke_at <= SOON):
            world.broken("self-fence", f"{what} later after its claim than that lasts")
        held = is_held(world.witness.job(run.job.id), run.key)
        if not held:
            run.lapsed, run.stale_at = True, world.loop.now
        for other in self.of(run.job.id):
            if held:
                self.beside(other, what)
            elif since <= LEASE and world.loop.now - world.jumped_at > 2 * LEASE:
                world.broken("beside", f"{what} with a lease that {other.station.name} has")

    def beside(self, run: Run, what: str) -> None:
        """Judge that something happened which takes for granted that this code has stopped."""
        world = self._world
        text = f"{what} while its code still ran ({run})"
        if run.abandoned:
            world.broken("abandoned", text)
        elif run.revoked or not run.awake:
            return  # `_check_asked` says by when the first kind has to be told
        elif not run.lapsed:
            world.broken("beside", text)
        elif run.asked_at is None:
            # It may be late to notice that it lost its lease, but then it has to be late itself.
            fresh = world.loop.now - run.station.woke_at <= SOON
            if not fresh and world.loop.now - world.jumped_at > 2 * LEASE:
                world.broken("self-fence", text)

    def asked(self, run: Run, why: str) -> None:
        if run.asked_at is None:
            run.asked_at, run.asked_why = self._world.loop.now, why
            self._world.note("asked to stop", run.job.id, run.job.lease, why)

    def ended(self, run: Run, how: str) -> None:
        if self.live.pop(run.key, None) is not None:
            run.ended_at, run.how = self._world.loop.now, how
            self._world.note("ends", run.job.id, run.job.lease, how)

    def died(self, station: Station) -> None:
        """Note that a worker's process ended, and all code of it."""
        for run in [run for run in self.live.values() if run.station is station]:
            self.ended(run, "died")

    def check(self) -> None:
        """Look for code that should have been told to stop, or should have stopped, by now."""
        for run in list(self.live.values()):
            if run.awake:
                self._check_asked(run)
                self._check_stopped(run)

    def _check_asked(self, run: Run) -> None:
        world = self._world
        if run.asked_at is not None:
            return
        now, able = world.loop.now, max(run.station.able_at(), run.began_at)
        if run.stale_at is not None and now - max(able, run.stale_at) > REACT:
            world.broken("fenced", f"{run} goes on without its lease")
        requested = world.witness.cancels.get(run.job.id)
        if requested is not None and now - max(able, requested) > REACT:
            world.broken("cancel", f"{run} was never told that it is to be cancelled")
        hinted = world.witness.hints.get((run.job.id, run.station.name))
        if hinted is not None and now - max(able, hinted) > SOON:
            world.broken("prompt cancel", f"{run} is not told of the cancel its worker heard of")
        timeout = run.job.options.timeout
        if timeout is not None and now - max(run.began_at, run.station.woke_at) > timeout + SOON:
            world.broken("timeout", f"{run} is beyond its timeout")
        sent = world.witness.renewed.get(run.key, now)
        if now - max(sent + LEASE, run.station.woke_at, run.began_at) > SOON:
            world.broken("self-fence", f"{run} goes on though it was not renewed in time")

    def _check_stopped(self, run: Run) -> None:
        if run.asked_at is None:
            return
        since = max(run.asked_at, run.station.woke_at)
        if self._world.loop.now - since > run.stubborn + SOON:
            self._world.broken("stopped", f"{run} goes on though it was told to stop")

    def still(self, key: Key) -> Run | None:
        """Return the code that runs under a lease, if any does."""
        return self.live.get(key)


def is_held(job: JobRecord | None, key: Key) -> bool:
    """Whether a lease is good, as the store sees it."""
    return job is not None and job.state is State.RUNNING and job.lease == key[1]
