"""What a worker and its child processes say to each other: JSON, one message a line.

The child reads `Run` on its stdin, one at a time, and answers on a pipe of its own: `Begun` when
the job's function begins, `Said`, `Wrote` and `Kept` while it runs, then `Done`. A third pipe
carries a single byte if the running job is to stop, and another in answer to `Needs`: whether its
folder was made. It is closed when the worker ends.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import msgspec

from ..core.job import JobRecord, Progress, Stream
from .job_control import Ending

HALT = b"\n"
MADE, UNMADE = b"m", b"u"
# The child's ends of the two pipes.
ANSWERS, HALTS = 3, 4
READ = 1 << 16


class Run(msgspec.Struct, frozen=True, tag="run"):
    """A job and the function for it. `main` is how to import the worker's own script, if needed.

    `folder` is the job's own, and is there if it was `made`.
    """

    job: JobRecord
    where: str
    main: dict[str, Any] = {}
    folder: str = ""
    made: bool = False


class Begun(msgspec.Struct, frozen=True, tag="begun"):
    """The function is found and begins now."""


class Said(msgspec.Struct, frozen=True, tag="said"):
    """The job's newest progress."""

    progress: Progress


class Wrote(msgspec.Struct, frozen=True, tag="wrote"):
    """Something the job logged. What it prints comes through stdout and stderr themselves."""

    stream: Stream
    data: bytes


class Needs(msgspec.Struct, frozen=True, tag="needs"):
    """The job needs its folder: make it, and say so."""


class Kept(msgspec.Struct, frozen=True, tag="kept"):
    """An artifact that the job named."""

    name: str
    path: str


class Done(msgspec.Struct, frozen=True, tag="done"):
    """How the job ended, and how much memory the child uses, in bytes."""

    ending: Ending
    rss: int


Answer = Begun | Said | Wrote | Needs | Kept | Done

encode = msgspec.json.Encoder().encode
decode_run = msgspec.json.Decoder(Run).decode
_decode_answer = msgspec.json.Decoder(Answer).decode


class Answers:
    """The worker's end of the pipe on which a child answers. It never blocks the event loop.

    `take` is called with each answer, and with None when what came was no answer at all.
    """

    def __init__(self, pipe: int, take: Callable[[Answer | None], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._pipe = pipe
        self._take = take
        self._line = bytearray()
        os.set_blocking(pipe, False)
        self._loop.add_reader(pipe, self.read)

    def read(self) -> bool:
        """Take what is there; say whether there may be more."""
        try:
            data = os.read(self._pipe, READ)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._pipe)
            return False
        *lines, rest = data.split(b"\n")
        for line in lines:
            whole = bytes(self._line + line) if self._line else line
            self._line.clear()
            try:
                answer = _decode_answer(whole)
            except msgspec.MsgspecError:
                self._take(None)
            else:
                self._take(answer)
        self._line += rest
        return True

    def close(self) -> None:
        """Let go of the pipe."""
        self._loop.remove_reader(self._pipe)
        os.close(self._pipe)


class Orders:
    """The worker's end of a pipe to a child. What the pipe cannot hold yet is sent later."""

    def __init__(self, pipe: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._pipe = pipe
        self._waiting = b""
        os.set_blocking(pipe, False)

    def send(self, data: bytes) -> None:
        """Send some bytes. That a child has died is noticed elsewhere, not here."""
        if self._waiting:
            self._waiting += data
            return
        self._waiting = self._write(data)
        if self._waiting:
            self._loop.add_writer(self._pipe, self._write_more)

    def close(self) -> None:
        """Let go of the pipe."""
        self._loop.remove_writer(self._pipe)
        os.close(self._pipe)

    def _write_more(self) -> None:
        self._waiting = self._write(self._waiting)
        if not self._waiting:
            self._loop.remove_writer(self._pipe)

    def _write(self, data: bytes) -> bytes:
        try:
            return data[os.write(self._pipe, data) :]
        except BlockingIOError:
            return data
        except (BrokenPipeError, ConnectionResetError):
            return b""
