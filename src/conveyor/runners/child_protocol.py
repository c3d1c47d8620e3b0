"""The messages between a worker and its child processes: JSON, one message per line.

The child reads `RunJob` on stdin, one at a time, and writes to a pipe of its own: `ChildReady` when
it can run jobs, `FunctionStarted` when a job's function starts, `ProgressReport`, `OutputWritten`,
`WaitNoted`, `ArtifactNamed` and `WorkdirNeeded` while it runs, then `JobDone`. A control pipe
carries one byte per order: STOP to stop the running job; DUMP to send the frames of its code
(`FramesTaken`); WORKDIR_CREATED or WORKDIR_FAILED in reply
to `WorkdirNeeded`. It closes when the worker exits.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import msgspec

from ..core.job import JobRecord, Progress, Stream
from ..core.stack import Frame
from ..core.trace_context import TraceContext
from ..core.unreadable import UNREADABLE
from .job_control import RunResult

STOP, DUMP, WORKDIR_CREATED, WORKDIR_FAILED = b"s", b"d", b"c", b"f"
# The child's descriptors for its messages and for the control pipe.
MESSAGE_FD, CONTROL_FD = 3, 4
READ_SIZE = 1 << 16
# The most bytes of one message: a result has at most 1 MiB, and output is sent in pieces. A job may
# write to the pipe itself, and must not fill the worker's memory.
MAX_MESSAGE = 8 << 20
OUTPUT_PIECE = 1 << 20


class RunJob(msgspec.Struct, frozen=True, tag="run"):
    """A job and the path of its function.

    `main` is how to import the worker's main script, if the function is in it. `folder` is the path
    of the job's workdir, which exists if it was `created`. `schema` has the tables of its store, if
    that is PostgreSQL. `trace` is the trace that its code is a part of. `arounds` are the paths of
    what wraps the job.
    """

    job: JobRecord
    where: str
    main: dict[str, Any] = {}
    folder: str = ""
    created: bool = False
    schema: str = ""
    trace: TraceContext | None = None
    arounds: tuple[str, ...] = ()


class ChildReady(msgspec.Struct, frozen=True, tag="ready"):
    """The child `pid` has imported what it needs itself, and runs jobs from now on."""

    pid: int = 0


class FunctionStarted(msgspec.Struct, frozen=True, tag="started"):
    """The function is imported and starts now; `imported_rss` is the memory that imports need."""

    imported_rss: int = 0


class ProgressReport(msgspec.Struct, frozen=True, tag="progress"):
    """The job's newest progress."""

    progress: Progress


class OutputWritten(msgspec.Struct, frozen=True, tag="output"):
    """What the job logged. What it prints comes through stdout and stderr themselves."""

    stream: Stream
    data: bytes


class WaitNoted(msgspec.Struct, frozen=True, tag="wait"):
    """What the job's code waits for in a call of this package; "" if it waits for nothing."""

    what: str


class WorkdirNeeded(msgspec.Struct, frozen=True, tag="workdir"):
    """The job needs its workdir: the worker creates it and replies on the control pipe."""


class ArtifactNamed(msgspec.Struct, frozen=True, tag="artifact"):
    """An artifact that the job named."""

    name: str
    path: str


class FramesTaken(msgspec.Struct, frozen=True, tag="frames"):
    """What the job's code did when DUMP came."""

    frames: list[Frame]


class CompletionBegun(msgspec.Struct, frozen=True, tag="completion"):
    """The job's code completes the job in a transaction of its own."""


class JobDone(msgspec.Struct, frozen=True, tag="done"):
    """How the job ended, and the child's memory use in bytes."""

    run_result: RunResult
    rss: int


# What a child sends about the job that it runs, until it is done.
JobMessage = (
    FunctionStarted
    | ProgressReport
    | OutputWritten
    | WaitNoted
    | WorkdirNeeded
    | ArtifactNamed
    | CompletionBegun
    | FramesTaken
)
ChildMessage = ChildReady | JobMessage | JobDone

encode = msgspec.json.Encoder().encode
decode_run = msgspec.json.Decoder(RunJob).decode
_decode_message = msgspec.json.Decoder(ChildMessage).decode


def decode_message(line: bytes) -> ChildMessage | None:
    """Return the message in a line; None if it is not valid: the job can write to the pipe, too."""
    try:
        message: ChildMessage = _decode_message(line)
    except UNREADABLE:
        return None
    return message


class MessageReader:
    """Reads a child's messages in the worker, without blocking the event loop.

    `on_message` is called with each message, or None for a line that is not a valid message, or is
    longer than `limit` bytes.
    """

    def __init__(
        self,
        pipe: int,
        on_message: Callable[[ChildMessage | None], None],
        limit: int = MAX_MESSAGE,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._pipe = pipe
        self._on_message = on_message
        self._limit = limit
        self._partial_line = bytearray()
        os.set_blocking(pipe, False)
        self._loop.add_reader(pipe, self.read)

    def read(self) -> bool:
        """Read what is in the pipe; return whether there may be more."""
        try:
            data = os.read(self._pipe, READ_SIZE)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._pipe)
            return False
        *lines, rest = data.split(b"\n")
        for line in lines:
            whole = bytes(self._partial_line + line) if self._partial_line else line
            self._partial_line.clear()
            self._on_message(decode_message(whole))
        self._partial_line += rest
        if len(self._partial_line) > self._limit:
            self._partial_line.clear()
            self._on_message(None)
        return True

    def close(self) -> None:
        """Close the pipe."""
        self._loop.remove_reader(self._pipe)
        os.close(self._pipe)


class PipeWriter:
    """Writes to a pipe or socket without blocking; what does not fit yet is sent later."""

    def __init__(self, pipe: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._pipe = pipe
        self._unsent = b""
        os.set_blocking(pipe, False)

    def send(self, data: bytes) -> None:
        """Send bytes. Ignores a closed pipe: the exit of the reader is detected elsewhere."""
        if self._unsent:
            self._unsent += data
            return
        self._unsent = self._write(data)
        if self._unsent:
            self._loop.add_writer(self._pipe, self._send_rest)

    def close(self) -> None:
        """Close the pipe."""
        self._loop.remove_writer(self._pipe)
        os.close(self._pipe)

    def _send_rest(self) -> None:
        self._unsent = self._write(self._unsent)
        if not self._unsent:
            self._loop.remove_writer(self._pipe)

    def _write(self, data: bytes) -> bytes:
        """Write what fits; return the rest."""
        try:
            return data[os.write(self._pipe, data) :]
        except BlockingIOError:
            return data
        except (BrokenPipeError, ConnectionResetError):
            return b""
