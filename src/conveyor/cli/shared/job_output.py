"""Reads the output of a job, and follows it until the job ends."""

from __future__ import annotations

from codecs import IncrementalDecoder, getincrementaldecoder
from collections.abc import Callable, Iterator
from threading import Event

from ...client.outage_wait import OutageWait
from ...core.job import JobRecord, OutputChunk, Stream
from ...errors import PassingError, UnavailableError
from ...store.protocol import Store

PAGE = 500
UTF8 = getincrementaldecoder("utf-8")
# How often to look when no hint comes, in seconds.
POLL = 1.0


def read_output(store: Store, job_id: str, *, after: int = 0) -> Iterator[OutputChunk]:
    """Return the output that was written after a chunk, page by page."""
    while page := store.output(job_id, after=after, limit=PAGE).result():
        yield from page
        if not page.more:
            return
        if page[-1].seq <= after:
            raise UnavailableError(f"the output of job {job_id} has no end: the store repeats it")
        after = page[-1].seq


class OutputDecoder:
    """Decodes the output of a job chunk by chunk: a chunk may end within a character."""

    def __init__(self) -> None:
        self._decoders: dict[tuple[int, Stream], IncrementalDecoder] = {}
        self._last: dict[tuple[int, Stream], OutputChunk] = {}

    def decode(self, chunk: OutputChunk) -> str:
        """Return the text of a chunk, with what was left of the one before."""
        key = chunk.lease, chunk.stream
        self._last[key] = chunk
        return self._decoders.setdefault(key, UTF8(errors="replace")).decode(chunk.data)

    def rest(self) -> Iterator[tuple[OutputChunk, str]]:
        """Return what is left at the end, with the chunk that it is from."""
        for key, decoder in self._decoders.items():
            if text := decoder.decode(b"", final=True):
                yield self._last[key], text


def follow_output(store: Store, job_id: str, emit: Callable[[OutputChunk], None]) -> JobRecord:
    """Emit a job's output as it arrives until the job is final; return the job.

    If the server becomes unreachable, wait for it.
    """
    hinted = Event()
    stops = [store.listen([kind], lambda _hint: hinted.set()) for kind in ("output", "final")]
    try:
        after, outage = 0, OutageWait()
        while True:
            hinted.clear()
            try:
                # The state before the output: a job is final only after all its output is stored.
                job = store.get(job_id).result()
                for chunk in read_output(store, job_id, after=after):
                    emit(chunk)
                    after = chunk.seq
            except PassingError as error:
                outage.tolerate(error)
            else:
                outage.server_answered()
                if job.is_final:
                    return job
            hinted.wait(POLL)
    finally:
        for stop in stops:
            stop()
