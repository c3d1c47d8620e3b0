"""`conveyor cancel`: cancels jobs by id, or all that match a filter after a confirmation."""

from __future__ import annotations

import time
from collections import Counter

import click

from ..client.outage_wait import MIN_ANSWER_TIME
from ..core.duration import parse_duration
from ..core.job import WAITING, JobRecord, State
from ..errors import NotFoundError, UsageError
from ..store.messages import Filter
from ..store.protocol import Store
from .shared.audit_trail import audited
from .shared.bulk_change import act_on_matching, confirmed_count, without_later_jobs
from .shared.exit_codes import FAILED, OK
from .shared.job_selection import MOST, PAGE, change_jobs
from .shared.options import (
    filter_options,
    job_ids_argument,
    json_option,
    queue_option,
    task_option,
    url_option,
)
from .shared.output import print_job_counts, print_job_states, print_stderr
from .shared.store_access import find_job, open_configured_store

LIVE = WAITING | {State.RUNNING}
# How often to check whether the jobs have stopped, in seconds.
POLL = 0.05
CANCELLING = "cancelling"
GONE = "gone"


@click.command("cancel")
@job_ids_argument(LIVE)
@queue_option("All jobs of this queue that have not ended.")
@task_option("All jobs of this task that have not ended.")
@click.option("--older", metavar="DURATION", help="Only jobs older than DURATION.")
@filter_options
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--wait", type=float, metavar="SECONDS", help="Wait for running jobs to stop.")
@click.option(
    "--force",
    is_flag=True,
    help="Send SIGKILL without a grace period; threads cannot be killed.",
)
@click.option(
    "--reason",
    default="cancelled by conveyor cancel",
    show_default=True,
    help="Reason to record on the jobs.",
)
@json_option
@url_option
def cancel_command(
    job_ids: tuple[str, ...],
    queue: str | None,
    task: str | None,
    older: str | None,
    worker: str | None,
    error: str | None,
    text: str | None,
    yes: bool,
    wait: float | None,
    force: bool,
    reason: str,
    as_json: bool,
    url: str | None,
) -> int:
    filtered = any(each is not None for each in (queue, task, older, worker, error, text))
    if filtered is bool(job_ids):
        raise UsageError(
            "specify either job ids or a filter (--queue, --task, --older, --worker, --error, "
            "--text)"
        )
    with open_configured_store(url) as store:
        if filtered:
            before = None if older is None else store.now() - parse_duration(older, name="--older")
            matching = Filter(
                queue=queue,
                task=task,
                states=LIVE,
                enqueued_before=before,
                worker=worker,
                error=error,
                text=text,
            )
            states = _cancel_matching(store, matching, reason=reason, force=force, yes=yes)
        else:
            jobs = [find_job(store, job_id).id for job_id in job_ids]
            states = cancel_jobs(store, jobs, reason=reason, force=force)
        if wait is not None:
            _wait_until_stopped(store, states, wait)
        _report_exceptions(store, states, force=force)
    if filtered:
        print_job_counts(Counter(states.values()), as_json=as_json)
    else:
        print_job_states(states, as_json=as_json)
    stopped = {State.CANCELLED.value} if wait is not None else {State.CANCELLED.value, CANCELLING}
    return OK if set(states.values()) <= stopped else FAILED


def _cancel_matching(
    store: Store, matching: Filter, *, reason: str, force: bool, yes: bool
) -> dict[str, str]:
    """Cancel the jobs of a filter after a confirmation; return the state of each."""
    matching = without_later_jobs(store, matching, "cancel")
    count = confirmed_count(store, matching, "cancel", limit=MOST, yes=yes)
    states: dict[str, str] = {}
    with audited(store) as record:
        for step in act_on_matching(
            store, matching, "cancel", count=count, reason=reason, record=record, force=force
        ):
            for job_id, after in step.jobs:
                states[job_id] = CANCELLING if after == State.RUNNING else after
    return states


def cancel_jobs(store: Store, jobs: list[str], *, reason: str, force: bool) -> dict[str, str]:
    """Cancel jobs, and record that; return the state of each."""
    states: dict[str, str] = {}
    detail = f"forced: {reason}" if force else reason
    with audited(store) as record:
        for start in range(0, len(jobs), PAGE):
            answers = change_jobs(
                jobs[start : start + PAGE],
                lambda job_id: store.cancel(job_id, reason=reason, force=force),
                lambda job_id: record("cancel", job_id, detail, reason),
            )
            for job_id, answer in answers.items():
                if isinstance(answer, JobRecord):
                    states[job_id] = _shown_state(answer)
        return {job_id: states.get(job_id) or _current_state(store, job_id) for job_id in jobs}


def _wait_until_stopped(store: Store, states: dict[str, str], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while CANCELLING in states.values() and time.monotonic() < deadline:
        time.sleep(POLL)
        for job_id, state in states.items():
            if state == CANCELLING:
                left = max(MIN_ANSWER_TIME, deadline - time.monotonic())
                try:
                    states[job_id] = _current_state(store, job_id, left)
                except TimeoutError:
                    return


def _current_state(store: Store, job_id: str, within: float | None = None) -> str:
    try:
        return _shown_state(store.get(job_id).result(within))
    except NotFoundError:
        return GONE


def _report_exceptions(store: Store, states: dict[str, str], *, force: bool) -> None:
    """Print why jobs could not be cancelled, for the first ten of them."""
    odd = [job_id for job_id, state in states.items() if state != State.CANCELLED]
    for job_id in odd[:10]:
        try:
            job = store.get(job_id).result()
        except NotFoundError:
            print_stderr(f"job {job_id} no longer exists: it ended and was deleted")
            continue
        if states[job_id] != CANCELLING:
            print_stderr(
                f"job {job_id} is already {job.state}: it ended before it could be cancelled"
            )
        elif job.stopping and (force or len(job.stopping) > 1):
            print_stderr(f"job {job_id} is still running: {job.stopping[-1].text}")


def _shown_state(job: JobRecord) -> str:
    return CANCELLING if job.state is State.RUNNING else job.state
