"""What a worker and its child processes say to each other: JSON, one message a line.

Worker to child, on the child's stdin: `Prepare` once, then `Run` per job, `Halt` to stop a job.
Child to worker, on a pipe of its own: `Said` and `Wrote` while a job runs, then `Done`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..job import JobRecord, Progress, Stream
from ..lifecycle import Failed, Snoozed, Succeeded
from .control import Stopped


class Prepare(msgspec.Struct, frozen=True, tag="prepare"):
    """The pid of the worker, without which the child ends."""

    parent: int


class Run(msgspec.Struct, frozen=True, tag="run"):
    """A job and the function for it. `main` is how to import the worker's own script, if needed."""

    job: JobRecord
    where: str
    main: dict[str, Any] = {}


class Halt(msgspec.Struct, frozen=True, tag="halt"):
    """The running job is to stop."""


class Said(msgspec.Struct, frozen=True, tag="said"):
    """The job's newest progress."""

    progress: Progress


class Wrote(msgspec.Struct, frozen=True, tag="wrote"):
    """Something the job logged. What it prints comes through stdout and stderr themselves."""

    stream: Stream
    data: bytes


class Done(msgspec.Struct, frozen=True, tag="done"):
    """How the job ended, and the most memory the child ever used, in KiB."""

    ending: Succeeded | Failed | Snoozed | Stopped
    peak_rss: int


ToChild = Prepare | Run | Halt
ToWorker = Said | Wrote | Done

encode = msgspec.json.Encoder().encode
decode_for_child = msgspec.json.Decoder(ToChild).decode
decode_for_worker = msgspec.json.Decoder(ToWorker).decode
