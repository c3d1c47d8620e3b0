"""Asks a running job to stop, on request or when its time is over, and notes if it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..core.task import Kind
from ..runners.job_control import JobControl, StopRequest

# How long a job that can only be asked gets, in seconds, before it is noted that it goes on.
HEED = 1.0
DEAF: dict[Kind, str] = {
    "thread": "it runs in a thread, which can only be asked: it goes on until it looks at "
    "current_job().cancelled, or uses its sleep, track or check",
    "coroutine": "it goes on in spite of CancelledError",
}
FORCED: dict[Kind, str] = {
    "thread": "asked with force, which can do no more to a thread: only the end of its worker "
    "ends it",
    "coroutine": "asked again: CancelledError",
}


def ask(control: JobControl, request: StopRequest) -> None:
    """Ask a job to stop, and write down on it that this was done. Call it in the event loop."""
    kind = control.task.kind
    if not control.stopping:
        control.note(f"asked to stop ({request.cause}): {request.reason}")
        if kind in DEAF:
            asyncio.get_running_loop().call_later(HEED, _note_that_it_goes_on, control)
    elif request.cause == "cancel" and request.grace == 0.0:
        control.note(FORCED.get(kind, "asked again, without grace"))
    control.stop(request)


def set_alarm(control: JobControl, timeout: float) -> Callable[[], None]:
    """Stop a job that runs longer than `timeout` seconds; return what calls that off."""
    request = StopRequest("timeout", f"it ran longer than its timeout of {timeout:g} s")
    loop = asyncio.get_running_loop()
    alarm = loop.call_later(timeout, ask, control, request)

    def again() -> None:  # its code begins only now: its process had to start and to import it
        nonlocal alarm
        alarm.cancel()
        alarm = loop.call_later(timeout, ask, control, request)

    control.on_begin = again
    return lambda: alarm.cancel()  # noqa: PLW0108 - of whichever alarm it is then


def _note_that_it_goes_on(control: JobControl) -> None:
    if not control.ended:
        control.note(DEAF[control.task.kind])
