"""`conveyor ps`: lists jobs."""

from __future__ import annotations

import click

from ..core.job import DETAILS, Detail, JobRecord, State
from ..store.messages import Filter
from .shared.options import (
    filter_options,
    json_option,
    parse_state,
    queue_option,
    state_option,
    task_option,
    url_option,
)
from .shared.output import format_age, job_as_json, print_json, print_stderr, print_table
from .shared.sickness import print_sick_workers
from .shared.store_access import find_jobs, find_workers, open_configured_store

HEADINGS = ("ID", "STATE", "TASK", "QUEUE", "ATTEMPT", "AGE", "PROGRESS", "ERROR")
LONGEST_ERROR = 60
IN_TABLE: frozenset[Detail] = frozenset({"stopping"})


@click.command("ps")
@queue_option("Only jobs of this queue.")
@task_option("Only jobs of this task.")
@state_option("Only jobs in this state; repeatable.")
@filter_options
@click.option(
    "--limit",
    default=50,
    type=click.IntRange(1, 1000),
    show_default=True,
    help="Maximum number of jobs.",
)
@click.option("--before", type=int, help="Only jobs before this number: the next page.")
@json_option
@url_option
def ps_command(
    queue: str | None,
    task: str | None,
    states: tuple[str, ...],
    worker: str | None,
    error: str | None,
    text: str | None,
    limit: int,
    before: int | None,
    as_json: bool,
    url: str | None,
) -> None:
    known = frozenset(map(parse_state, states))
    matching = Filter(
        queue=queue,
        task=task,
        states=known,
        before=before,
        worker=worker,
        error=error,
        text=text,
    )
    with open_configured_store(url) as store:
        include = DETAILS if as_json else IN_TABLE
        jobs = find_jobs(store, matching, limit=limit, include=include)
        workers = [] if as_json else find_workers(store)
        now = store.now()
    if as_json:
        print_json([job_as_json(job) for job in jobs])
        return
    print_table(HEADINGS, [_row(job, now) for job in jobs], starts_with_id=True)
    print_sick_workers(workers, now)
    if jobs.more:
        last = jobs[-1].seq if jobs.next is None else jobs.next
        print_stderr(f"There are more jobs: --before {last}")


def _row(job: JobRecord, now: float) -> tuple[str, ...]:
    state: str = f"{job.state} (damaged)" if job.damage else job.state
    error = (job.error or job.damage or "-").splitlines()[0]
    if job.state is State.RUNNING and job.cancel_requested_at:
        state = f"cancelling {format_age(job.cancel_requested_at, now)}"
        error = job.stopping[-1].text if job.stopping else "waiting for its worker to respond"
    progress = job.progress
    done = "-"
    if progress is not None:
        done = f"{progress.done:g}" + (f"/{progress.total:g}" if progress.total else "")
    return (
        job.id,
        state,
        job.task,
        job.queue,
        str(job.attempt),
        format_age(job.enqueued_at, now),
        done,
        error if len(error) <= LONGEST_ERROR else error[: LONGEST_ERROR - 1] + "…",
    )
