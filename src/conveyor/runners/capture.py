"""Captures what each job writes to stdout, stderr and logging."""

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
from .spill_file import SpilledChunk, SpillFile

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
CHUNK_SIZE = 1 << 16
MEMORY_LIMIT = 16 << 20


class OutputBuffer:
    """Buffers output and progress of running jobs until they are sent to the store.

    A job's output is truncated at its `output_limit`, with a mark that says so, so the buffer never
    exceeds the sum of the limits of the running jobs. What exceeds `memory_limit` bytes, for
    example on a slow network, is kept in a file.
    """

    def __init__(
        self, now: Callable[[], float] = time.time, memory_limit: int = MEMORY_LIMIT
    ) -> None:
        self._now = now
        self._memory_limit = memory_limit
        self._in_memory = self._pending = 0
        self._spill = SpillFile()
        self._lock = threading.Lock()
        self._written: dict[tuple[str, int], int] = {}
        self._pieces: dict[tuple[str, int], list[_Piece]] = {}
        self._progress: dict[str, tuple[JobRecord, Progress]] = {}
        self._stop_notes: dict[str, tuple[JobRecord, Sequence[StopNote]]] = {}

    def write(self, job: JobRecord, stream: Stream, data: bytes) -> None:
        """Append to a job's output."""
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
                self._written[key] = limit + 1  # discard everything after the mark

    def set_progress(self, job: JobRecord, progress: Progress) -> None:
        """Replace a job's progress."""
        with self._lock:
            self._progress[job.id] = job, progress

    def set_stop_notes(self, job: JobRecord, notes: Sequence[StopNote]) -> None:
        """Replace the steps taken so far to stop a job."""
        with self._lock:
            self._stop_notes[job.id] = job, notes

    def take_output(self, limit: int | None = None) -> list[OutputChunk]:
        """Remove and return the output written since the last call, as chunks for the store.

        With a `limit`, only about the first `limit` bytes.
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
                    data=self._pop_data(piece),
                )
                for (job_id, lease), piece in self._pop_pieces(limit)
            ]

    def written(self, job: JobRecord) -> int:
        """Return how many bytes of a job's output were kept, while its code runs."""
        return min(self._written.get((job.id, job.lease), 0), job.options.output_limit)

    @property
    def pending_bytes(self) -> int:
        """How many bytes of output wait to be sent."""
        return self._pending

    @property
    def bytes_in_memory(self) -> int:
        """How many bytes of output are in memory."""
        return self._in_memory

    def take_progress(self) -> list[tuple[JobRecord, Progress]]:
        """Remove and return the newest progress of each job that reported any."""
        if not self._progress:
            return []
        with self._lock:
            taken, self._progress = self._progress, {}
        return list(taken.values())

    def take_stop_notes(self) -> list[tuple[JobRecord, Sequence[StopNote]]]:
        """Remove and return the steps to stop each job that has new ones."""
        if not self._stop_notes:
            return []
        with self._lock:
            taken, self._stop_notes = self._stop_notes, {}
        return list(taken.values())

    def finish(self, job: JobRecord) -> None:
        """Stop counting a job's output, because its code has ended. The output stays."""
        if self._written:
            with self._lock:
                self._written.pop((job.id, job.lease), None)

    def discard(self, job: JobRecord) -> None:
        """Discard a job's output: another worker owns the job now."""
        with self._lock:
            self._written.pop((job.id, job.lease), None)
            for piece in self._pieces.pop((job.id, job.lease), ()):
                self._free(piece)
            self._progress.pop(job.id, None)
            self._stop_notes.pop(job.id, None)

    def _append(self, key: tuple[str, int], stream: Stream, offset: int, data: bytes) -> None:
        pieces = self._pieces.setdefault(key, [])
        done = 0
        if pieces and pieces[-1].stream == stream:
            last = pieces[-1].data
            if isinstance(last, bytearray):
                done = CHUNK_SIZE - len(last)
                last.extend(data[:done])
        for start in range(done, len(data), CHUNK_SIZE):
            piece = bytearray(data[start : start + CHUNK_SIZE])
            pieces.append(_Piece(stream, self._now(), offset + start, piece))
        self._in_memory += len(data)
        self._pending += len(data)
        if self._in_memory > self._memory_limit:
            self._spill_chunks(pieces)

    def _spill_chunks(self, pieces: list[_Piece]) -> None:
        """Move full pieces to the file, the newest first: they are sent last."""
        for piece in reversed(pieces):
            if isinstance(piece.data, SpilledChunk):
                return  # all full pieces before it are spilled too
            if len(piece.data) == CHUNK_SIZE:
                try:
                    piece.data = self._spill.append(piece.data)
                except OSError:  # the disk is full: keep it in memory
                    return
                self._in_memory -= CHUNK_SIZE

    def _pop_pieces(self, limit: int | None) -> list[tuple[tuple[str, int], _Piece]]:
        """Remove and return the next pieces."""
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

    def _pop_data(self, piece: _Piece) -> bytes:
        self._pending -= piece.size
        if isinstance(piece.data, SpilledChunk):
            return self._spill.pop(piece.data)
        self._in_memory -= len(piece.data)
        return bytes(piece.data)

    def _free(self, piece: _Piece) -> None:
        self._pending -= piece.size
        if isinstance(piece.data, SpilledChunk):
            self._spill.free(piece.data)
        else:
            self._in_memory -= len(piece.data)


class _Piece(msgspec.Struct):
    stream: Stream
    at: float
    offset: int
    data: bytearray | SpilledChunk

    @property
    def size(self) -> int:
        return self.data.size if isinstance(self.data, SpilledChunk) else len(self.data)


@contextmanager
def capture_output() -> Generator[None]:
    """Capture what jobs of this process print and log; all other output stays where it was.

    May be nested: several workers in one process share one capture.
    """
    with _CAPTURE.lock:
        _CAPTURE.count += 1
        if _CAPTURE.count == 1:
            _CAPTURE.install()
    try:
        yield
    finally:
        with _CAPTURE.lock:
            _CAPTURE.count -= 1
            if _CAPTURE.count == 0:
                _CAPTURE.remove()


class _Capture:
    """The capture of this process: one, because there is only one sys.stdout."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self._handler = JobLogHandler()
        self._streams: tuple[_JobStream, _JobStream] | None = None

    def install(self) -> None:
        self._streams = _JobStream(sys.stdout, "stdout"), _JobStream(sys.stderr, "stderr")
        sys.stdout, sys.stderr = self._streams
        logging.getLogger().addHandler(self._handler)

    def remove(self) -> None:
        logging.getLogger().removeHandler(self._handler)
        if self._streams is not None:
            out, err = self._streams
            # Other code may have replaced these streams, and may restore them later.
            if sys.stdout is out:
                sys.stdout = out.original
            if sys.stderr is err:
                sys.stderr = err.original


class _JobStream(io.TextIOBase):
    """Replaces sys.stdout or sys.stderr; sends what a job writes to the job's output."""

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
        """The binary stream: the job's output, or the original's buffer."""
        job = CURRENT.get()
        return self.original.buffer if job is None else _JobBytes(job, self._stream)

    def close(self) -> None:
        """Do nothing: the stream belongs to the process."""

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return CURRENT.get() is None and self.original.isatty()

    def fileno(self) -> int:
        return self.original.fileno()


class _JobBytes(io.RawIOBase):
    """A binary stream that appends to one job's output."""

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


class JobLogHandler(logging.Handler):
    """Appends the log records of jobs to their output.

    Its presence alone makes logging believe that the application has configured it, so records of
    other code go where they would go without it: to stderr, if there is no other handler.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(LOG_FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        """Append a record, if a job logged it."""
        job = CURRENT.get()
        if job is None:
            last = logging.lastResort
            if last and record.levelno >= last.level and not _is_handled_elsewhere(record):
                last.handle(record)
            return
        try:
            line = self.format(record) + "\n"
        except Exception:  # noqa: BLE001 - logging's own rule: a bad record is reported, not raised
            self.handleError(record)
            return
        job.write_output("log", line.encode(errors="backslashreplace"))


def _is_handled_elsewhere(record: logging.LogRecord) -> bool:
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        if any(not isinstance(each, JobLogHandler) for each in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


_CAPTURE = _Capture()
