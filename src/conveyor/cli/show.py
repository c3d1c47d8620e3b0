"""`conveyor show`: all details of a job."""

from __future__ import annotations

import click
import msgspec

from ..core.job import JobRecord
from ..core.pending import run_sync
from ..store.call_style import BlockingCalls
from ..store.page_walk import read_history
from .shared.options import job_id_argument, json_option, url_option
from .shared.output import format_time, job_as_json, print_block, print_json, print_line
from .shared.store_access import find_job, open_configured_store


@click.command("show")
@job_id_argument
@json_option
@url_option
def show_command(job_id: str, as_json: bool, url: str | None) -> None:
    with open_configured_store(url) as store:
        job = find_job(store, job_id)
        history = run_sync(read_history(BlockingCalls(), store, job.id))
    if as_json:
        print_json({**job_as_json(job), "history": msgspec.to_builtins(history)})
        return
    for name, value in _fields(job):
        print_line(f"{name + ':':18} {value}")
    for line in history:
        print_line()
        print_line(
            f"attempt {line.attempt}, {format_time(line.at)}, {line.worker or 'no worker'}: "
            f"{line.error} -> {line.became}"
        )
        if line.error.traceback:
            print_block(line.error.traceback.rstrip())


def _fields(job: JobRecord) -> list[tuple[str, str]]:
    fields = [
        ("id", job.id),
        ("state", job.state),
        ("task", job.task),
        ("queue", job.queue),
        ("arguments", job.args.decode(errors="replace")),
        ("priority", str(job.priority)),
        ("attempt", f"{job.attempt} of {job.options.retries + 1}"),
        ("enqueued", format_time(job.enqueued_at)),
        ("run at", format_time(job.run_at)),
        ("started", format_time(job.started_at)),
        ("ended", format_time(job.final_at)),
        ("worker", job.worker or "-"),
        ("options", msgspec.json.encode(job.options).decode()),
    ]
    if job.cancel_requested_at is not None:
        fields.append(("cancel requested", format_time(job.cancel_requested_at)))
    if job.cancel_forced:
        fields.append(("forced", "yes, without a grace period"))
    # By the worker's clock, unlike all times above: only the intervals compare.
    fields += [
        ("stopping", f"+{step.at - job.stopping[0].at:.1f} s {step.text}") for step in job.stopping
    ]
    if job.progress is not None:
        fields.append(("progress", msgspec.json.encode(job.progress).decode()))
    if job.result is not None:
        fields.append(("result", job.result.decode(errors="replace")))
    if job.error is not None:
        fields.append(("error", job.error))
    if job.damage:
        fields.append(("damage", job.damage))
    return fields
