"""`conveyor wait`: waits until jobs end."""

from __future__ import annotations

import time

import click

from ..client.job_handle import Job
from ..core.codec import ResultCodec
from ..core.duration import parse_duration
from ..core.job import JobRecord, State
from ..errors import WaitTimeoutError
from ..store.hint_waiters import HintWaiters
from .shared.exit_codes import FAILED, OK
from .shared.options import job_ids_argument, json_option, url_option
from .shared.output import job_as_json, print_job_states, print_json
from .shared.store_access import find_job, open_configured_store


@click.command("wait")
@job_ids_argument(required=True)
@click.option("--timeout", metavar="DURATION", help="Maximum wait, like 90 or 5m.")
@json_option
@url_option
def wait_command(
    job_ids: tuple[str, ...], timeout: str | None, as_json: bool, url: str | None
) -> int:
    seconds = None if timeout is None else parse_duration(timeout, name="--timeout")
    deadline = None if seconds is None else time.monotonic() + seconds
    records: list[JobRecord] = []
    with open_configured_store(url) as store:
        hint_waiters = HintWaiters(store)
        for found in [find_job(store, job_id) for job_id in job_ids]:
            job: Job[object] = Job(
                found.id, store=store, hint_waiters=hint_waiters, results=ResultCodec()
            )
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                records.append(job.wait(left))
            except WaitTimeoutError:
                raise WaitTimeoutError(f"job {found.id} has not ended after {timeout}") from None
    if as_json:
        print_json([job_as_json(record) for record in records])
    else:
        print_job_states({record.id: record.state for record in records}, as_json=False)
    return OK if all(record.state is State.COMPLETED for record in records) else FAILED
