"""`conveyor logs`: the output of a job."""

from __future__ import annotations

import click
import msgspec

from ..core.job import JobRecord, OutputChunk, State
from ..errors import UsageError
from .shared.job_output import OutputDecoder, follow_output, read_output
from .shared.options import job_id_argument, json_option, raw_option, url_option
from .shared.output import print_json, print_stderr
from .shared.output_printer import OutputPrinter
from .shared.store_access import find_job, open_configured_store


@click.command("logs")
@job_id_argument
@click.option("-f", "--follow", is_flag=True, help="Follow the output until the job ends.")
@click.option(
    "--stream",
    type=click.Choice(["stdout", "stderr", "log", "mark"]),
    help="Only this stream.",
)
@raw_option
@json_option
@url_option
def logs_command(
    job_id: str, follow: bool, stream: str | None, raw: bool, as_json: bool, url: str | None
) -> None:
    if raw and as_json:
        raise UsageError("--raw cannot be combined with --json")
    printer = _JsonPrinter() if as_json else _AttemptPrinter(OutputPrinter(raw=raw))

    def emit(chunk: OutputChunk) -> None:
        if stream is None or chunk.stream == stream:
            printer.print(chunk)

    with open_configured_store(url) as store:
        job = find_job(store, job_id)
        if follow:
            job = follow_output(store, job.id, emit)
        else:
            for chunk in read_output(store, job.id):
                emit(chunk)
    printer.finish()
    if follow and job.state is not State.COMPLETED:
        print_stderr(_describe_end(job))


def _describe_end(job: JobRecord) -> str:
    return f"job {job.id} is {job.state}" + (f": {job.error}" if job.error else "")


class _JsonPrinter:
    """Prints each chunk as a JSON object."""

    def __init__(self) -> None:
        self._decoder = OutputDecoder()

    def print(self, chunk: OutputChunk) -> None:
        _print_chunk(chunk, self._decoder.decode(chunk))

    def finish(self) -> None:
        for chunk, text in self._decoder.rest():
            _print_chunk(chunk, text)


class _AttemptPrinter:
    """Prints the output; a line on stderr separates attempts."""

    def __init__(self, printer: OutputPrinter) -> None:
        self._printer = printer
        self._last: OutputChunk | None = None

    def print(self, chunk: OutputChunk) -> None:
        last = self._last
        if last is not None and chunk.lease != last.lease:
            self._printer.end()
            start = [] if last.data.endswith(b"\n") else [""]
            print_stderr(*start, f"--- next attempt (lease {chunk.lease}) ---")
        self._printer.print(chunk)
        self._last = chunk

    def finish(self) -> None:
        self._printer.end()


def _print_chunk(chunk: OutputChunk, text: str) -> None:
    print_json({**msgspec.to_builtins(chunk), "data": text})
