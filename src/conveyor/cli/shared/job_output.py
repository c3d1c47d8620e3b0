"""Reads the output of a job, and follows it until the job ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event

from ...client.outage_wait import OutageWait
from ...core.job import JobRecord, OutputChunk
from ...errors import PassingError
from ...store.protocol import Store

PAGE = 500
# How often to look when no hint comes, in seconds.
POLL = 1.0


def read_output(store: Store, job_id: str, *, after: int = 0) -> Iterator[OutputChunk]:
    """Return the output that was written after a chunk, page by page."""
    while page := store.output(job_id, after=after, limit=PAGE).result():
        yield from page
        after = page[-1].seq


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
