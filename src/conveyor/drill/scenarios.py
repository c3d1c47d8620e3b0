"""The scenes: each says what is promised, does the worst to real workers, and has it judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from .cancel_scenarios import play_cancel
from .crash_scenarios import play_freeze, play_kill, play_poison
from .disk_scenarios import play_disk
from .harness import Stage
from .shutdown_scenarios import play_drain, play_stop
from .verdict import Row


class Scene(msgspec.Struct, frozen=True):
    """One scene: its name, what is done, and what is promised of it, in a sentence each."""

    name: str
    title: str
    promise: str
    play: Callable[[Stage], Sequence[Row]]


SCENES = (
    Scene(
        "stop",
        "SIGTERM while jobs run that end in time",
        "They are completed, the worker exits with 0, and nobody runs them twice.",
        play_stop,
    ),
    Scene(
        "drain",
        "SIGTERM while jobs run that do not end in time",
        "They are stopped and handed back within 1 s, another worker runs them within 1 s more, "
        "the attempt does not count, the worker is out in time with 75 and leaves no process.",
        play_drain,
    ),
    Scene(
        "kill",
        "kill -9 of the worker",
        "Its processes die with it, its jobs are back within 1 s and run again within 1 s more; "
        "one result each; the crash counts and not the attempt, and how it died is on the job.",
        play_kill,
    ),
    Scene(
        "freeze",
        "SIGSTOP of the worker, for longer than its leases last",
        "Another worker takes the jobs when their leases have ended and not before; when the "
        "frozen one wakes its late runs are stopped, their results refused, and it works on.",
        play_freeze,
    ),
    Scene(
        "cancel",
        "Cancel, in each phase of a job's life",
        "It is cancelled within 1 s, and only after its code has ended; who comes too late hears "
        "it; what does not listen is still called running.",
        play_cancel,
    ),
    Scene(
        "disk",
        "The disk is full",
        "Enqueueing is refused with a clear error, nothing that was accepted is lost, and all of "
        "it completes once there is room.",
        play_disk,
    ),
    Scene(
        "poison",
        "A job that kills its worker each time it runs",
        "After three crashes it is discarded with the evidence, and the others go on.",
        play_poison,
    ),
)
