"""What the drill has observed in a scenario, with timestamps: the facts that the checks use.

All times are Unix seconds of this machine's clock.
"""

from __future__ import annotations

import msgspec

from ..core.job import AttemptError, JobRecord, State
from .probe_jobs import Kind, ProbeEvent


class Observation(msgspec.Struct, frozen=True):
    """The state of a job when that state was first observed.

    `live` are the processes that could still run the code of an earlier run, or of any run if the
    job was not running any more.
    """

    at: float
    state: State
    lease: int
    live: tuple[int, ...] = ()


class ObservedJob(msgspec.Struct, frozen=True, kw_only=True):
    """All that was observed of one job.

    `ended_at` is, by lease, the time when no process of that run was left.
    """

    kind: Kind
    record: JobRecord
    observations: tuple[Observation, ...]
    events: tuple[ProbeEvent, ...]
    ended_at: dict[int, float]
    history: tuple[AttemptError, ...] = ()

    def began_at(self, lease: int) -> float | None:
        """Return when the code of a run began."""
        return min(
            (each.at for each in self.events if each.lease == lease and each.what == "began"),
            default=None,
        )

    def released(self, lease: int) -> Observation | None:
        """Return the first observation after the job ran under this lease."""
        held = False
        for each in self.observations:
            running = each.state is State.RUNNING and each.lease == lease
            if held and not running:
                return each
            held = held or running
        return None

    @property
    def overlapping_pids(self) -> tuple[int, ...]:
        """The processes that could run its code while the store reported the job as not running."""
        return tuple(sorted({pid for each in self.observations for pid in each.live}))


class ObservedWorker(msgspec.Struct, frozen=True, kw_only=True):
    """All that was observed of one worker.

    `leftover` are processes of it that should have been gone, `stderr` the end of its output.
    """

    name: str
    id: str
    ended_at: float | None
    code: int | None
    leftover: tuple[str, ...] = ()
    stderr: str = ""
