"""What the drill has seen of a scene, with the moments: the facts that a verdict goes by.

All times are Unix seconds by this machine's clock.
"""

from __future__ import annotations

import msgspec

from ..core.job import AttemptError, JobRecord, State
from .probe_jobs import Kind, Note


class Sighting(msgspec.Struct, frozen=True):
    """A job as it stood when that was first seen.

    `live` are the processes that could still run the code of an earlier run of it, or of any run
    if it was not running any more.
    """

    at: float
    state: State
    lease: int
    live: tuple[int, ...] = ()


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """All that was seen of one job. `gone` says when no process of a lease's run was left."""

    kind: Kind
    record: JobRecord
    sightings: tuple[Sighting, ...]
    notes: tuple[Note, ...]
    gone: dict[int, float]
    history: tuple[AttemptError, ...] = ()

    def began(self, lease: int) -> float | None:
        """Return when the code of a run began."""
        return min(
            (n.at for n in self.notes if n.lease == lease and n.what == "began"), default=None
        )

    def left(self, lease: int) -> Sighting | None:
        """Return how it stood when it was first seen not to run under this lease any more."""
        held = False
        for each in self.sightings:
            running = each.state is State.RUNNING and each.lease == lease
            if held and not running:
                return each
            held = held or running
        return None

    @property
    def survivors(self) -> tuple[int, ...]:
        """The processes that could run its code when the store said that nobody does."""
        return tuple(sorted({pid for each in self.sightings for pid in each.live}))


class WorkerSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of one worker: when it ended, with which code, and what it last said.

    `left_behind` are processes of it that were there when they should have been gone.
    """

    name: str
    id: str
    ended_at: float | None
    code: int | None
    left_behind: tuple[str, ...] = ()
    said: str = ""
