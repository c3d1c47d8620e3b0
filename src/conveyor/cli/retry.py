"""`conveyor retry`: runs jobs again, by id, or all that match a filter after a confirmation."""

from __future__ import annotations

from typing import Any

import click

from ..core.job import FINAL, State
from .shared.job_change import JobChange, run_change
from .shared.job_selection import selection_options
from .shared.options import job_ids_argument, json_option, url_option

RETRIABLE = FINAL | {State.RETRYABLE, State.SCHEDULED}
RETRY = JobChange(
    action="retry",
    done="retried",
    default=frozenset({State.DISCARDED}),
    allowed=RETRIABLE,
    change=lambda store, job_id, reason: store.retry(job_id, reason=reason),
    result=lambda job: job.state,
)


@click.command("retry")
@job_ids_argument(RETRIABLE)
@selection_options("discarded")
@json_option
@url_option
def retry_command(job_ids: tuple[str, ...], **options: Any) -> int:
    return run_change(RETRY, job_ids, **options)
