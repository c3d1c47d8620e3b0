"""Commands that wait for something: logs -f, wait."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from threading import Event

import click
import msgspec

from ..client.job_handle import Job
from ..client.outage_wait import Patience
from ..core.codec import ResultCodec
from ..core.duration import duration
from ..core.job import JobRecord, OutputChunk, State
from ..errors import PassingError, WaitTimeoutError
from ..store.ask import Watch
from ..store.protocol import Store
from .shared.common import as_data, find_job, json_option, opened, print_json, url_option

PAGE = 500
LOOK = 1.0

Emit = Callable[[OutputChunk], None]


@click.command("logs")
@click.argument("job_id")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option(
    "--stream",
    type=click.Choice(["stdout", "stderr", "log", "mark"]),
    help="Only this stream.",
)
@json_option
@url_option
def logs_command(
    job_id: str, follow: bool, stream: str | None, as_json: bool, url: str | None
) -> None:
    def emit(chunk: OutputChunk) -> None:
        if stream is not None and chunk.stream != stream:
            return
        if as_json:
            text = chunk.data.decode(errors="replace")
            print_json({**msgspec.to_builtins(chunk), "data": text})
        else:
            write(chunk.data)

    with opened(url) as store:
        job = find_job(store, job_id)
        if follow:
            follow_output(store, job.id, emit)
        else:
            for chunk in _output(store, job.id, 0):
                emit(chunk)


@click.command("wait")
@click.argument("job_ids", nargs=-1, required=True)
@click.option("--timeout", metavar="DURATION", help="How long to wait, like 90 or 5m.")
@json_option
@url_option
def wait_command(
    job_ids: tuple[str, ...], timeout: str | None, as_json: bool, url: str | None
) -> int:
    deadline = None if timeout is None else time.monotonic() + duration(timeout)
    records: list[JobRecord] = []
    with opened(url) as store:
        watch = Watch(store)
        for found in [find_job(store, job_id) for job_id in job_ids]:
            job: Job[object] = Job(found.id, store=store, watch=watch, results=ResultCodec())
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                records.append(job.wait(left))
            except WaitTimeoutError:
                raise WaitTimeoutError(f"job {found.id} has not ended after {timeout}") from None
    if as_json:
        print_json([as_data(record) for record in records])
    else:
        for record in records:
            click.echo(f"{record.id} {record.state}")
    return 0 if all(record.state is State.COMPLETED for record in records) else 1


def follow_output(store: Store, job_id: str, emit: Emit) -> JobRecord:
    """Emit a job's output as it comes until the job is final; return the job.

    A server that is away meanwhile is waited for.
    """
    rung = Event()
    stops = [store.listen([kind], lambda _hint: rung.set()) for kind in ("output", "final")]
    try:
        after, patience = 0, Patience()
        while True:
            rung.clear()
            try:
                # Looked at before the output is read: all output is written before a job is final.
                job = store.get(job_id).result()
                for chunk in _output(store, job_id, after):
                    emit(chunk)
                    after = chunk.seq
            except PassingError as error:
                patience.bear(error)
            else:
                patience.heard()
                if job.is_final:
                    return job
            rung.wait(LOOK)
    finally:
        for stop in stops:
            stop()


def _output(store: Store, job_id: str, after: int) -> Iterator[OutputChunk]:
    """Return what was written after a chunk, page by page."""
    while page := store.output(job_id, after=after, limit=PAGE).result():
        yield from page
        after = page[-1].seq


def write(data: bytes, *, to_stderr: bool = False) -> None:
    """Write bytes through, at once."""
    stream = sys.stderr if to_stderr else sys.stdout
    stream.buffer.write(data)
    stream.buffer.flush()
