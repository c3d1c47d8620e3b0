"""`conveyor delete`: deletes final jobs, by id, or all that match a filter after a confirmation."""

from __future__ import annotations

from typing import Any

import click

from ..core.job import FINAL
from .shared.job_change import JobChange, run_change
from .shared.job_selection import selection_options
from .shared.options import job_ids_argument, json_option, url_option

DELETE: JobChange[None] = JobChange(
    action="delete",
    done="deleted",
    default=FINAL,
    allowed=FINAL,
    change=lambda store, job_id, reason: store.delete(job_id, reason=reason),
    result=lambda _nothing: "deleted",
)


@click.command("delete")
@job_ids_argument(FINAL)
@selection_options("any final state")
@json_option
@url_option
def delete_command(job_ids: tuple[str, ...], **options: Any) -> int:
    return run_change(DELETE, job_ids, **options)
