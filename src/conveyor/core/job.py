"""Jobs, queues, workers and schedules as plain, frozen data that all modules share."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Any, Literal

import msgspec

from .files import ARTIFACT_LIMIT, InputFile
from .key_template import KeyTemplate
from .record import Record, decode_json
from .retry import DEFAULT, Backoff
from .trace_context import TraceContext

WhenFull = Literal["wait", "refuse", "drop_oldest"]
OnShutdown = Literal["release", "cancel"]
KeyUntil = Literal["final", "pruned"]
# What a call does to the job that holds its unique key: see core/conflicts.py.
OnConflict = Literal["keep", "replace", "postpone", "join"]
Missed = Literal["skip", "once", "all"]
Stream = Literal["stdout", "stderr", "log", "mark"]
# Which ends of a job a callback is for: a discard, or any end.
CallbackOn = Literal["discarded", "finished"]

COMMAND_TASK = "conveyor.command"
# The label of workers that run commands; every command job requires it.
COMMANDS = "commands"
OUTPUT_LIMIT = 1 << 20
ARGS_LIMIT = 1 << 20
# The last error is stored on the job as one line of at most this many characters.
ERROR_LINE = 500
# How many attempts that did not succeed are shown of a job, at most: the newest.
HISTORY = 1000
# What a list of jobs leaves out unless it is asked for: a job may have megabytes of it.
Detail = Literal["args", "result", "options", "stopping"]
DETAILS: frozenset[Detail] = frozenset({"args", "result", "options", "stopping"})
# How long a job waits for a worker whose code can run it, in seconds; then it is discarded.
SUPPORT_TIMEOUT = 86_400.0


class State(StrEnum):
    """The state of a job. There is no "failed", as that would not show if a retry follows."""

    SCHEDULED = "scheduled"
    AVAILABLE = "available"
    RUNNING = "running"
    RETRYABLE = "retryable"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"


# For hot paths: before Python 3.12 it takes as long to look up a member as to call a function.
AVAILABLE, RUNNING, COMPLETED = State.AVAILABLE, State.RUNNING, State.COMPLETED
WAITING = frozenset({State.SCHEDULED, State.AVAILABLE, State.RETRYABLE})
FINAL = frozenset({State.COMPLETED, State.CANCELLED, State.DISCARDED})


class Options(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The options of a job, fixed when it is enqueued. Durations are seconds, limits bytes.

    `given` is for a job that was enqueued by name before its task was declared: the names of the
    options that it was given. The first claim completes the others. `trace` is the span that
    enqueued the job, if there is one. `replaced_by` is set by the store: the id that the last call
    had for its job, whose arguments and options this job has taken over.
    """

    retries: int = 0
    backoff: Backoff = DEFAULT
    retry_on: tuple[str, ...] = ()
    timeout: float | None = None
    grace: float = 10.0
    on_shutdown: OnShutdown = "release"
    expires_at: float | None = None
    key: str | None = None
    key_until: KeyUntil = "final"
    on_conflict: OnConflict = "keep"
    postpone_limit: float | None = None
    replaced_by: str | None = None
    meta: dict[str, Any] = {}
    requires: tuple[str, ...] = ()
    crash_limit: int = 3
    output_limit: int = OUTPUT_LIMIT
    files: tuple[InputFile, ...] = ()
    artifacts: tuple[str, ...] = ()
    artifact_limit: int = ARTIFACT_LIMIT
    given: tuple[str, ...] | None = None
    trace: TraceContext | None = None


NO_OPTIONS = Options()


class Callback(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job that is enqueued in the transaction that ends another one.

    `on` is "discarded", or "finished" for every end. `parameter` is the parameter of the task that
    gets the `EndedJob`.
    """

    on: CallbackOn
    task: str
    parameter: str
    queue: str = "default"
    priority: int = 0
    options: Options = NO_OPTIONS


class TaskDefaults(msgspec.Struct, frozen=True, kw_only=True):
    """What a task's declaration says about its jobs: for those who enqueue it by name.

    `key` is a unique key that is made of the arguments; one that is the same for all jobs is one of
    the options.
    """

    name: str
    queue: str = "default"
    priority: int = 0
    options: Options = NO_OPTIONS
    callbacks: tuple[Callback, ...] = ()
    key: KeyTemplate | None = None


class NewJob(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A job to be inserted. `args` is JSON; `delay` is seconds from the store's time."""

    id: str
    task: str
    queue: str = "default"
    args: bytes = b"{}"
    priority: int = 0
    run_at: float | None = None
    delay: float = 0.0
    options: Options = NO_OPTIONS
    callbacks: tuple[Callback, ...] = ()


class ErrorInfo(Record, frozen=True, omit_defaults=True):
    """Why an attempt did not succeed. `bases` are the names of the exception's classes.

    `exit_code` is the exit code of a command that failed, as a shell reports it: 128 + N if signal
    N killed the command, 127 if there is no such program, 126 if it cannot be executed. It is None
    for every other failure.
    """

    type: str
    message: str
    traceback: str = ""
    bases: tuple[str, ...] = ()
    exit_code: int | None = None

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


class AttemptError(Record, frozen=True, kw_only=True):
    """One entry of a job's history: an attempt that did not succeed, and why.

    `seq` and `fingerprint` are set by the store: `seq` grows, and readers page by it; failures with
    the same `fingerprint` are alike (see core/fingerprint.py), and a cancel has none. `due_at` is
    since when the attempt could have started. Where an older version recorded it, `started_at`,
    `due_at`, `lease` and `fingerprint` are empty.
    """

    attempt: int
    at: float
    worker: str | None
    became: State
    error: ErrorInfo
    seq: int = 0
    started_at: float | None = None
    due_at: float | None = None
    lease: int = 0
    fingerprint: str = ""


class Progress(Record, frozen=True):
    """The progress that a running job reports."""

    done: float
    total: float | None = None
    message: str = ""


class StopNote(Record, frozen=True):
    """One step taken to stop a running job: when (by the worker's clock), and what."""

    at: float
    text: str


class JobRecord(Record, frozen=True, gc=False):
    """A job as stored.

    `seq` is the order of acceptance. `lease` counts the claims of this job; it is the fencing
    token that every write-back names, and it only grows. `attempt` counts the attempts used.
    `error` is the last attempt's error in one line. `cancel_forced`: the cancel skips the grace
    period. `stopping` lists the steps that the worker took to stop it. `unsupported_since`: when a
    worker first returned it because its code cannot run it. `damage` says what of its row cannot be
    read any more; those fields are empty, and the job is never run. `omitted` names the fields that
    a list has left out; they are empty here, whatever the store has. Times are Unix seconds by the
    store's clock.
    """

    # gc=False: there are many, and none can be part of a cycle.
    seq: int
    id: str
    task: str
    queue: str
    args: bytes
    state: State
    priority: int
    run_at: float
    enqueued_at: float
    attempt: int = 0
    lease: int = 0
    crashes: int = 0
    worker: str | None = None
    lease_until: float | None = None
    cancel_requested_at: float | None = None
    started_at: float | None = None
    unsupported_since: float | None = None
    final_at: float | None = None
    result: bytes | None = None
    error: str | None = None
    progress: Progress | None = None
    cancel_forced: bool = False
    stopping: tuple[StopNote, ...] = ()
    options: Options = NO_OPTIONS
    damage: str = ""
    omitted: tuple[Detail, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data, with `args` and `result` decoded from JSON.

        `json.dumps` and web frameworks encode it. Options that have their default are left out.
        """
        return {
            **msgspec.to_builtins(self),
            "args": decode_json(self.args),
            "result": None if self.result is None else decode_json(self.result),
        }

    @property
    def has_retries_left(self) -> bool:
        """Whether a retry can follow if the present attempt fails."""
        return self.attempt <= self.options.retries

    @property
    def is_final(self) -> bool:
        """Whether the job is over: only a manual retry can change it."""
        return self.state in FINAL


EMPTY_DETAILS: dict[Detail, Any] = {
    "args": b"{}",
    "result": None,
    "options": NO_OPTIONS,
    "stopping": (),
}


def leave_out(job: JobRecord, omitted: Collection[Detail]) -> JobRecord:
    """Return a job without some of its details."""
    if not omitted:
        return job
    empty: dict[str, Any] = {name: EMPTY_DETAILS[name] for name in omitted}
    return msgspec.structs.replace(job, omitted=tuple(sorted(omitted)), **empty)


class OutputChunk(msgspec.Struct, frozen=True, kw_only=True):
    """Output that a running job wrote.

    `offset` counts the bytes captured before this chunk under the same `lease`, so that a chunk
    sent twice is stored once. `seq` is set by the store and grows; readers page by it.
    """

    job_id: str
    lease: int
    offset: int
    stream: Stream
    at: float
    data: bytes
    seq: int = 0


class WorkerInfo(Record, frozen=True, kw_only=True):
    """A worker as it registers itself. `boot_id`, `pid` and `pid_started` identify its process.

    `begun` is the file on its host that lists the jobs it has begun; empty if there is none. `rss`
    is its memory at the last heartbeat, in bytes. `finished` counts the attempts that ended there.
    A `quiet` worker claims nothing but goes on with its jobs. `sick` maps the kinds of job that its
    machine cannot start to the reasons; `unsupported` maps tasks to how many of their jobs it
    returned because its code does not know the task or its arguments. `waits` maps the ids of
    running jobs to what their code waits for, as in "room in queue 'mail' (9/9)" or "job 0123".
    `release` names the release of its application, if that is configured.
    """

    id: str
    host: str
    boot_id: str
    pid: int
    pid_started: float
    started_at: float
    slots: int
    queues: tuple[str, ...]
    labels: tuple[str, ...] = ()
    release: str = ""
    begun: str = ""
    running: int = 0
    finished: int = 0
    rss: int = 0
    draining: bool = False
    quiet: bool = False
    sick: dict[str, str] = msgspec.field(default_factory=dict)
    unsupported: dict[str, int] = msgspec.field(default_factory=dict)
    waits: dict[str, str] = msgspec.field(default_factory=dict)
    beat_at: float = 0.0


class QueueTotals(Record, frozen=True, kw_only=True):
    """How many jobs a queue has ever taken, and how they ended. No number ever goes back.

    A job that is retried by hand ends again, and counts again. `retried` counts attempts that
    failed and were followed by a retry. Of a queue that an older version has used, they begin with
    the jobs that were there when the store was upgraded.
    """

    enqueued: int = 0
    retried: int = 0
    completed: int = 0
    cancelled: int = 0
    discarded: int = 0


NO_TOTALS = QueueTotals()


class QueueInfo(Record, frozen=True, kw_only=True):
    """A queue at one moment. `offers` counts the producers that wait for room.

    While it is paused: since when, by whom and why, as far as that was said.
    """

    name: str
    capacity: int | None
    paused: bool
    counts: dict[State, int]
    offers: int = 0
    paused_at: float | None = None
    paused_by: str = ""
    pause_reason: str = ""
    totals: QueueTotals = NO_TOTALS

    @property
    def depth(self) -> int:
        """How many jobs wait: scheduled, available and retryable ones."""
        return sum(self.counts.get(state, 0) for state in WAITING)


class ScheduleInfo(Record, frozen=True, kw_only=True):
    """A schedule as stored: its cron rule, and its last and next tick in Unix seconds.

    While it is paused: since when, by whom and why, as far as that was said.
    """

    name: str
    cron: str
    timezone: str
    missed: Missed
    next_at: float
    last_at: float | None = None
    paused: bool = False
    paused_at: float | None = None
    paused_by: str = ""
    pause_reason: str = ""
