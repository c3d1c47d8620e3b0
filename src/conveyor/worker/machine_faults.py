"""Which kinds of job this machine cannot start at the moment, and when to try each again.

The first fault of a kind pauses it. After the pause the worker probes: a fault found by the probe
pauses it for longer; otherwise the worker claims again. A job that could not start goes back at
once. If the kind was probed in between and its jobs still cannot start, the cause may be the job
itself (its inputs are larger than the disk), so it goes back for later and lets others pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..core.event_log import open_event_log
from ..core.job import COMMANDS
from ..core.lifecycle import Interrupted, Outcome, Snoozed
from ..core.loop_backoff import DoublingBackoff
from ..core.task import Kind
from ..store.messages import Claimant

log = open_event_log("machine")

# The pauses of a kind, in seconds, between two probes.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
# A job that the probe does not explain comes back after this many pauses, but soon enough.
LATER, LATEST = 10.0, 60.0


@dataclass(slots=True)
class _Fault:
    reason: str
    backoff: DoublingBackoff
    retry_at: float
    paused: bool = True


class MachineFaults:
    """The faults by kind. It reads no clock; `now` is any monotonic time in seconds."""

    def __init__(self) -> None:
        self._by_kind: dict[Kind, _Fault] = {}

    def __len__(self) -> int:
        """Return how many kinds have had a fault and no success since."""
        return len(self._by_kind)

    @property
    def paused(self) -> Mapping[str, str]:
        """The paused kinds, and why."""
        return {kind: fault.reason for kind, fault in self._by_kind.items() if fault.paused}

    @property
    def retry_at(self) -> float | None:
        """When the next kind is due for a probe; None if none is paused."""
        return min((each.retry_at for each in self._by_kind.values() if each.paused), default=None)

    def record(self, kind: Kind, reason: str, now: float) -> Outcome:
        """Note that a job could not start, pause its kind, and return the job's outcome."""
        fault = self._by_kind.get(kind)
        if fault is None:
            backoff = DoublingBackoff(FIRST_PAUSE, LONGEST_PAUSE)
            fault = self._by_kind[kind] = _Fault(reason, backoff, 0.0, paused=False)
            outcome: Outcome = Interrupted()
        elif fault.paused:  # it was claimed before the pause
            return Interrupted()
        else:
            outcome = Snoozed(min(LATEST, LATER * fault.backoff.pause))
        self._pause(kind, fault, reason, now)
        return outcome

    def due(self, now: float) -> list[Kind]:
        """Return the kinds to probe now."""
        return [
            kind for kind, fault in self._by_kind.items() if fault.paused and fault.retry_at <= now
        ]

    def record_probe(self, kind: Kind, reason: str | None, now: float) -> None:
        """Note the fault that a probe found, or None: then jobs of the kind are claimed again."""
        fault = self._by_kind[kind]
        if reason is not None:
            self._pause(kind, fault, reason, now)
            return
        fault.paused = False
        log.warning("machine.recovered kind=%s", kind)

    def record_start(self, kind: Kind) -> None:
        """Note that a job of the kind has started: the fault, if it is not paused, is over."""
        fault = self._by_kind.get(kind)
        if fault is not None and not fault.paused:
            del self._by_kind[kind]

    def claimant(self, usual: Claimant) -> Claimant | None:
        """Return as whom to claim now; None is not to claim.

        Only jobs that are commands can be left out of a claim, by their label.
        """
        paused = self.paused
        if not paused:
            return usual
        if set(paused) != {"command"} or COMMANDS not in usual.labels:
            return None
        return Claimant(
            usual.worker, usual.lease_for, usual.labels - {COMMANDS}, usual.confirm_within
        )

    def _pause(self, kind: Kind, fault: _Fault, reason: str, now: float) -> None:
        pause = fault.backoff.next_pause()
        fault.reason, fault.paused, fault.retry_at = reason, True, now + pause
        log.error("machine.fault kind=%s retry_in=%.1f error=%s", kind, pause, reason)
