"""Wraps runners so that observers see each attempt: when its code starts, and how it ended."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ..core.error_info import error_info
from ..core.lifecycle import Failed, Outcome
from ..core.task import Kind
from ..runners.job_control import JobControl, Runner, RunResult, Stopped
from ..runners.machine_fault import MachineFault
from .outcomes import outcome_of

# How an attempt ended. None: its lease is lost, and nothing is reported of it.
Ended = Outcome | MachineFault | None


class AttemptObserver(Protocol):
    """Sees attempts, in the worker's event loop. Its methods must be quick, and must not raise."""

    def begin(self, control: JobControl) -> Any:
        """See that an attempt begins; what this returns is passed to `end`."""
        ...

    def end(self, control: JobControl, begun: Any, ended: Ended) -> None:
        """See how the attempt ended."""
        ...


def observed_runners(
    runners: Mapping[Kind, Runner], observers: Sequence[AttemptObserver]
) -> Mapping[Kind, Runner]:
    """Return runners whose attempts all observers see; the given ones if there is no observer."""
    for observer in observers:
        runners = {kind: _ObservedRunner(runner, observer) for kind, runner in runners.items()}
    return runners


class _ObservedRunner:
    """A runner whose attempts an observer sees."""

    def __init__(self, runner: Runner, observer: AttemptObserver) -> None:
        self._runner = runner
        self._observer = observer

    async def run(self, control: JobControl) -> RunResult:
        begun = self._observer.begin(control)
        try:
            run_result = await self._runner.run(control)
        except BaseException as error:
            stopped = isinstance(error, CancelledError) and control.stopping
            self._observer.end(
                control,
                begun,
                _ended(control, Stopped()) if stopped else Failed(error_info(error)),
            )
            raise
        self._observer.end(control, begun, _ended(control, run_result))
        return run_result

    async def probe(self) -> MachineFault | None:
        return await self._runner.probe()

    async def close(self) -> None:
        await self._runner.close()


def _ended(control: JobControl, run_result: RunResult) -> Ended:
    """Return how an attempt ended, as the dispatcher will report it."""
    judged = control.failure or run_result
    if isinstance(judged, MachineFault) and not control.stopping:
        return judged
    return outcome_of(judged, control.stop_request, control.job.options.on_shutdown)
