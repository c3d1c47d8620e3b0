"""Tries out whether this machine can start jobs again, after it could not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from ..core.lifecycle import Outcome
from ..core.task import Kind
from ..core.timeout import wait_for_event
from ..runners.job_control import Runner
from ..runners.machine_fault import MachineFault
from ..store.messages import Claimant
from .machine_faults import MachineFaults

# How long a probe may take, in seconds.
PROBE_TIMEOUT = 40.0


class MachineProbe:
    """Keeps the faults of a worker's machine, and probes each kind when its pause is over.

    `on_change` is called when a kind is paused, or claimed again.
    """

    def __init__(self, *, runners: Mapping[Kind, Runner], elapsed: Callable[[], float]) -> None:
        self._runners = runners
        self._elapsed = elapsed
        self._changed = asyncio.Event()
        self.faults = MachineFaults()
        # An attribute, because it is read for each job.
        self.has_faults = False
        self.on_change: Callable[[], None] = _ignore

    def record(self, kind: Kind, fault: MachineFault) -> Outcome:
        """Note that a job could not start here; returns the job's outcome."""
        outcome = self.faults.record(kind, fault.reason, self._elapsed())
        self.has_faults = True
        self._changed.set()
        self.on_change()
        return outcome

    def record_start(self, kind: Kind) -> None:
        """Note that a job has started."""
        self.faults.record_start(kind)
        self.has_faults = bool(self.faults)

    def claimant(self, usual: Claimant) -> Claimant | None:
        """Return as whom to claim now; None is not to claim."""
        return self.faults.claimant(usual) if self.has_faults else usual

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            retry_at = self.faults.retry_at
            wait = None if retry_at is None else max(0.0, retry_at - self._elapsed())
            await wait_for_event(self._changed, wait)
            self._changed.clear()
            for kind in self.faults.due(self._elapsed()):
                reason = await self._probe(kind)
                self.faults.record_probe(kind, reason, self._elapsed())
                self.on_change()

    async def _probe(self, kind: Kind) -> str | None:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                fault = await self._runners[kind].probe()
        except TimeoutError:
            return f"no job could start within {PROBE_TIMEOUT:g} s"
        except Exception as error:  # noqa: BLE001 - whatever a probe raises, a job would meet too
            return f"{type(error).__name__}: {error}"
        return None if fault is None else fault.reason


def _ignore() -> None:
    """Do nothing."""
