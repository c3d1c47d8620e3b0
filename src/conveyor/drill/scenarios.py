"""The scenarios: what each does to real workers, and what it promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from .cancel_scenarios import run_cancel
from .checks import Row
from .crash_scenarios import run_exit, run_freeze, run_kill, run_poison
from .damage_scenarios import run_damaged_row
from .disk_scenarios import run_disk
from .harness import Harness
from .machine_scenarios import run_sick_machine
from .shutdown_scenarios import run_drain, run_stop


class Scenario(msgspec.Struct, frozen=True):
    """One scenario: its name, what is done, and what is promised, in a few words each.

    `needs_file`: it is about a store in a file, which a database has not.
    """

    name: str
    title: str
    promise: str
    run: Callable[[Harness], Sequence[Row]]
    needs_file: bool = False


SCENARIOS = (
    Scenario(
        "stop",
        "SIGTERM while jobs run that end in time",
        "The jobs complete, none runs twice, and the worker exits with 0.",
        run_stop,
    ),
    Scenario(
        "drain",
        "SIGTERM while jobs run that do not end in time",
        "The jobs are stopped and returned within 1 s, and another worker runs them within 1 s "
        "more. The attempt does not count. The worker exits in time with 75 and leaves no process.",
        run_drain,
    ),
    Scenario(
        "kill",
        "kill -9 of the worker",
        "The worker's processes die with it. Its jobs return within 1 s and run again within 1 s "
        "more, with one result each. The crash counts, not the attempt, and the job records it.",
        run_kill,
    ),
    Scenario(
        "freeze",
        "SIGSTOP of the worker, for longer than its leases last",
        "Another worker takes over the jobs when their leases expire, not before. When the frozen "
        "worker resumes, its late runs are stopped, their results rejected, and it takes new jobs.",
        run_freeze,
    ),
    Scenario(
        "cancel",
        "Cancel, in each phase of a job's life",
        "The job is cancelled within 1 s, and only after its code has ended. A late cancel is "
        "reported as too late. A job whose code ignores the cancel is still shown as running.",
        run_cancel,
    ),
    Scenario(
        "disk",
        "The disk is full",
        "Enqueueing fails with a clear error, no accepted job is lost, and all of them complete "
        "once there is space again.",
        run_disk,
        needs_file=True,
    ),
    Scenario(
        "sick-machine",
        "A worker's machine can start no process",
        "Its jobs complete on another worker, in their first attempt. The worker says why it "
        "starts none, and runs jobs again once its machine is well.",
        run_sick_machine,
    ),
    Scenario(
        "damaged-row",
        "The rows of waiting and running jobs are damaged",
        "The damaged jobs are discarded with the reason and never run. One that already runs "
        "completes. Other jobs complete, and the worker keeps running.",
        run_damaged_row,
        needs_file=True,
    ),
    Scenario(
        "poison",
        "A job that kills its worker each time it runs",
        "The job is discarded after three crashes, which it records. Other jobs complete.",
        run_poison,
    ),
    Scenario(
        "exit",
        "Jobs that exit the process, in a task, a callback, a thread and a child process",
        "Each of these jobs fails in its attempt. The worker goes on, and other jobs complete.",
        run_exit,
    ),
)
