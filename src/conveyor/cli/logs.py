"""`conveyor logs`: the output of a job."""

from __future__ import annotations

import click
import msgspec

from ..core.job import OutputChunk
from .shared.job_output import follow_output, read_output
from .shared.options import job_id_argument, json_option, url_option
from .shared.output import print_json, write_bytes
from .shared.store_access import find_job, open_configured_store


@click.command("logs")
@job_id_argument
@click.option("-f", "--follow", is_flag=True, help="Follow the output until the job ends.")
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
            write_bytes(chunk.data)

    with open_configured_store(url) as store:
        job = find_job(store, job_id)
        if follow:
            follow_output(store, job.id, emit)
        else:
            for chunk in read_output(store, job.id):
                emit(chunk)
