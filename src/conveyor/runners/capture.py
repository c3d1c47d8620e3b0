"""Keeps what jobs write: stdout, stderr and logging, each job's apart from its neighbours'."""

from __future__ import annotations

import io
import logging
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TextIO

import msgspec

from ..core.job import JobRecord, OutputChunk, Progress, StopNote, Stream
from ..core.job_context import CURRENT, CurrentJob
from .spill_file import Spill, Spilt

LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
CHUNK = 1 << 16
IN_MEMORY = 16 << 20


class OutputBuffer:
    """Collects output and progress of running jobs until somebody takes it to the store.

    A job's output is cut at its `output_limit`, with a mark that says so; what lies here is
    therefore never more than the limits of the jobs that run. Beyond `in_memory` bytes it lies in
    a file, as when a slow link takes it away more slowly than it is written.
    """

    def __init__(self, now: Callable[[], float] = time.time, in_memory: int = IN_MEMORY) -> None:
        self._now = now
        self._in_memory = in_memory
        self._held = self._waiting = 0
        self._spill = Spill()
        self._lock = threading.Lock()
        self._written: dict[tuple[str, int], int] = {}
        self._pieces: dict[tuple[str, int], list[_Piece]] = {}
        self._progress: dict[str, tuple[JobRecord, Progress]] = {}
        self._stopping: dict[str, tuple[JobRecord, Sequence[StopNote]]] = {}

    def write(self, job: JobRecord, stream: Stream, data: bytes) -> None:
        """Keep some bytes of a job's output."""
        if not data:
            return
        key = job.id, job.lease
        limit = job.options.output_limit
        with self._lock:
            written = self._written.get(key, 0)
            if written > limit:
                return
            kept = data[: limit - written]
            self._append(key, stream, written, kept)
            self._written[key] = written + len(kept)
            if len(kept) < len(data):
                mark = f"\n[output cut at {limit:,} bytes; raise output_limit to keep more]\n"
                self._append(key, "mark", limit, mark.encode())
                self._written[key] = limit + 1  # no more than the mark itself comes after it

    def progress(self, job: JobRecord, progress: Progress) -> None:
        """Keep a job's newest word about itself."""
        with self._lock:
            self._progress[job.id] = job, progress

    def stopping(self, job: JobRecord, notes: Sequence[StopNote]) -> None:
        """Keep what was done so far to stop a job."""
        with self._lock:
            self._stopping[job.id] = job, notes

    def take(self, limit: int | None = None) -> list[OutputChunk]:
        """Return what was written since the last time, ready for the store.

        `limit` is about how many bytes of it, the first ones; None is all.
        """
        if not self._pieces:
            return []
        with self._lock:
            return [
                OutputChunk(
                    job_id=job_id,
                    lease=lease,
                    offset=piece.offset,
                    stream=piece.stream,
                    at=piece.at,
                    data=self._whole(piece),
                )
                for (job_id, lease), piece in self._next(limit)
            ]

    @property
    def waiting(self) -> int:
        """How many bytes of output wait to be taken."""
        return self._waiting

    @property
    def in_memory(self) -> int:
        """How many bytes of output lie in memory."""
        return self._held

    def take_progress(self) -> list[tuple[JobRecord, Progress]]:
        """Return the newest progress of each job that said something since the last time."""
        if not self._progress:
            return []
        with self._lock:
            taken, self._progress = self._progress, {}
        return list(taken.values())

    def take_stopping(self) -> list[tuple[JobRecord, Sequence[StopNote]]]:
        """Return what was done to stop each job of which that is new since the last time."""
        if not self._stopping:
            return []
        with self._lock:
            taken, self._stopping = self._stopping, {}
        return list(taken.values())

    def end(self, job: JobRecord) -> None:
        """Count a job no longer, because its code has ended. What it wrote can still be taken."""
        if self._written:
            with self._lock:
                self._written.pop((job.id, job.lease), None)

    def forget(self, job: JobRecord) -> None:
        """Throw away what a job wrote: it is not ours any more."""
        with self._lock:
            self._written.pop((job.id, job.lease), None)
            for piece in self._pieces.pop((job.id, job.lease), ()):
                self._drop(piece)
            self._progress.pop(job.id, None)
            self._stopping.pop(job.id, None)

    def _append(self, key: tuple[str, int], stream: Stream, offset: int, data: bytes) -> None:
        pieces = self._pieces.setdefault(key, [])
        done = 0
        if pieces and pieces[-1].stream == stream:
            last = pieces[-1].data
            if isinstance(last, bytearray):
                done = CHUNK - len(last)
                last.extend(data[:done])
        for start in range(done, len(data), CHUNK):
            piece = bytearray(data[start : start + CHUNK])
            pieces.append(_Piece(stream, self._now(), offset + start, piece))
        self._held += len(data)
        self._waiting += len(data)
        if self._held > self._in_memory:
            self._put_by(pieces)

    def _put_by(self, pieces: list[_Piece]) -> None:
        """Take whole pieces out of memory, the newest first: they are sent last."""
        for piece in reversed(pieces):
            if isinstance(piece.data, Spilt):
                return  # and so are all before it that are whole
            if len(piece.data) == CHUNK:
                try:
                    piece.data = self._spill.put(piece.data)
                except OSError:  # a full disk: then it has to fit into memory
                    return
                self._held -= CHUNK

    def _next(self, limit: int | None) -> list[tuple[tuple[str, int], _Piece]]:
        """Take the next pieces off."""
        taken: list[tuple[tuple[str, int], _Piece]] = []
        left = limit
        for key in list(self._pieces):
            pieces = self._pieces[key]
            count = 0
            while count < len(pieces) and (left is None or left > 0):
                taken.append((key, pieces[count]))
                left = None if left is None else left - pieces[count].size
                count += 1
            del pieces[:count]
            if not pieces:
                del self._pieces[key]
        return taken

    def _whole(self, piece: _Piece) -> bytes:
        self._waiting -= piece.size
        if isinstance(piece.data, Spilt):
            return self._spill.take(piece.data)
        self._held -= len(piece.data)
        return bytes(piece.data)

    def _drop(self, piece: _Piece) -> None:
        self._waiting -= piece.size
        if isinstance(piece.data, Spilt):
            self._spill.drop(piece.data)
        else:
            self._held -= len(piece.data)


class _Piece(msgspec.Struct):
    stream: Stream
    at: float
    offset: int
    data: bytearray | Spilt

    @property
    def size(self) -> int:
        return self.data.size if isinstance(self.data, Spilt) else len(self.data)


@contextmanager
def capturing() -> Generator[None]:
    """Have what jobs of this process print and log kept with them; all else goes where it went.

    May be nested: several workers in one process share one capture.
    """
    with _INSTALLED.lock:
        _INSTALLED.count += 1
        if _INSTALLED.count == 1:
            _INSTALLED.install()
    try:
        yield
    finally:
        with _INSTALLED.lock:
            _INSTALLED.count -= 1
            if _INSTALLED.count == 0:
                _INSTALLED.remove()


class _Installed:
    """The one capture of this process. sys.stdout is one for all, and so is this."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self._handler = JobLog()
        self._streams: tuple[_JobStream, _JobStream] | None = None

    def install(self) -> None:
        self._streams = _JobStream(sys.stdout, "stdout"), _JobStream(sys.stderr, "stderr")
        sys.stdout, sys.stderr = self._streams
        logging.getLogger().addHandler(self._handler)

    def remove(self) -> None:
        logging.getLogger().removeHandler(self._handler)
        if self._streams is not None:
            out, err = self._streams
            # Somebody else may have put a stream of theirs over ours, and will put ours back.
            if sys.stdout is out:
                sys.stdout = out.original
            if sys.stderr is err:
                sys.stderr = err.original


class _JobStream(io.TextIOBase):
    """A stand-in for sys.stdout that knows whether a job is writing."""

    def __init__(self, original: TextIO, stream: Literal["stdout", "stderr"]) -> None:
        self.original = original
        self._stream: Stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8" if CURRENT.get() else self.original.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return "backslashreplace" if CURRENT.get() else self.original.errors

    def write(self, text: str, /) -> int:
        job = CURRENT.get()
        if job is None:
            return self.original.write(text)
        job.write_output(self._stream, text.encode(errors="backslashreplace"))
        return len(text)

    def flush(self) -> None:
        if CURRENT.get() is None:
            self.original.flush()

    @property
    def buffer(self) -> Any:
        """What takes bytes: the job's output, or the original's."""
        job = CURRENT.get()
        return self.original.buffer if job is None else _JobBytes(job, self._stream)

    def close(self) -> None:
        """Do nothing: it is not the job's to close, nor ours."""

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return CURRENT.get() is None and self.original.isatty()

    def fileno(self) -> int:
        return self.original.fileno()


class _JobBytes(io.RawIOBase):
    """Takes bytes for one job's stream."""

    def __init__(self, job: CurrentJob, stream: Stream) -> None:
        super().__init__()
        self._job = job
        self._stream: Stream = stream

    def write(self, data: Any, /) -> int:
        kept = bytes(data)
        self._job.write_output(self._stream, kept)
        return len(kept)

    def writable(self) -> bool:
        return True


class JobLog(logging.Handler):
    """Writes the log records of jobs into their output."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(LINE))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, if a job logs it."""
        job = CURRENT.get()
        if job is None:
            return
        try:
            line = self.format(record) + "\n"
        except Exception:  # noqa: BLE001 - logging's own rule: a bad record is reported, not raised
            self.handleError(record)
            return
        job.write_output("log", line.encode(errors="backslashreplace"))


_INSTALLED = _Installed()
