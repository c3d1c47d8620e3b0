"""`conveyor cancel`: cancels jobs by id, or all that match a filter after a confirmation."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress

import click

from ..client.outage_wait import MIN_ANSWER_TIME
from ..core.duration import parse_duration
from ..core.job import WAITING, JobRecord, State
from ..core.pending import Pending
from ..errors import ConveyorError, InvalidTransitionError, NotFoundError, UsageError
from ..store.messages import Filter
from ..store.protocol import Store
from .shared.audit_trail import audited
from .shared.exit_codes import FAILED, OK
from .shared.options import json_option, url_option
from .shared.output import format_count, print_job_states, print_json, print_stderr
from .shared.store_access import find_job, open_configured_store

PAGE = 1000
LIVE = WAITING | {State.RUNNING}
# How often to check whether the jobs have stopped, in seconds.
POLL = 0.05
CANCELLING = "cancelling"
GONE = "gone"
# How long to wait for outstanding requests after an interrupt, in seconds.
REQUEST_TIMEOUT = 10.0

Requests = dict[str, Pending[JobRecord]]


@click.command("cancel")
@click.argument("job_ids", nargs=-1)
@click.option("--queue", metavar="NAME", help="All jobs of this queue that have not ended.")
@click.option("--task", metavar="NAME", help="All jobs of this task that have not ended.")
@click.option("--older", metavar="DURATION", help="Only jobs older than DURATION.")
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
    yes: bool,
    wait: float | None,
    force: bool,
    reason: str,
    as_json: bool,
    url: str | None,
) -> int:
    filtered = (queue, task, older) != (None, None, None)
    if filtered is bool(job_ids):
        raise UsageError("specify either job ids or a filter (--queue, --task, --older)")
    with open_configured_store(url) as store:
        if filtered:
            before = None if older is None else store.now() - parse_duration(older, name="--older")
            matching = Filter(queue=queue, task=task, states=LIVE, enqueued_before=before)
            jobs = list(_find_all(store, matching))  # only their ids: there may be many
            _confirm(len(jobs), yes=yes)
        else:
            jobs = [find_job(store, job_id).id for job_id in job_ids]
        states = cancel_jobs(store, jobs, reason=reason, force=force)
        if wait is not None:
            _wait_until_stopped(store, states, wait)
        _report_exceptions(store, states, force=force)
    _print(states, counted=filtered, as_json=as_json)
    stopped = {State.CANCELLED.value} if wait is not None else {State.CANCELLED.value, CANCELLING}
    return OK if set(states.values()) <= stopped else FAILED


def _find_all(store: Store, matching: Filter) -> Iterator[str]:
    """Return every matching job, page by page; each page is older than the one before."""
    page = store.find(matching, limit=PAGE).result()
    while page:
        yield from (job.id for job in page)
        older = Filter(
            queue=matching.queue,
            task=matching.task,
            states=matching.states,
            enqueued_before=matching.enqueued_before,
            before=page[-1].seq,
        )
        page = store.find(older, limit=PAGE).result()


def _confirm(count: int, *, yes: bool) -> None:
    if yes or not count:
        return
    jobs = format_count(count, "job")
    if not sys.stdin.isatty():
        raise UsageError(f"cannot ask whether to cancel {jobs}, as stdin is no terminal: add --yes")
    click.confirm(f"Cancel {jobs}?", abort=True, err=True)


def cancel_jobs(store: Store, jobs: list[str], *, reason: str, force: bool) -> dict[str, str]:
    """Cancel jobs, and record that; return the state of each."""
    states: dict[str, str] = {}
    detail = f"forced: {reason}" if force else reason
    with audited(store) as record:
        for start in range(0, len(jobs), PAGE):
            requests: Requests = {}
            page = dict.fromkeys(jobs[start : start + PAGE])
            try:
                asyncio.run(_request_all(store, page, requests, reason=reason, force=force))
                for job_id, pending in requests.items():
                    with suppress(InvalidTransitionError, NotFoundError):
                        states[job_id] = _shown_state(pending.result())
            finally:
                # The store carries out all requests, even after an interrupt here.
                for job_id in _cancelled(requests):
                    record("cancel", job_id, detail)
        return {job_id: states.get(job_id) or _current_state(store, job_id) for job_id in jobs}


async def _request_all(
    store: Store, jobs: Iterable[str], requests: Requests, *, reason: str, force: bool
) -> None:
    """Send all requests before the first answer: requests from an event loop share a commit."""
    for job_id in jobs:
        requests[job_id] = store.cancel(job_id, reason=reason, force=force)


def _cancelled(requests: Requests) -> Iterator[str]:
    """Return the jobs whose request succeeded."""
    deadline = time.monotonic() + REQUEST_TIMEOUT
    for job_id, pending in requests.items():
        with suppress(ConveyorError, TimeoutError):
            pending.result(max(0.0, deadline - time.monotonic()))
            yield job_id


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


def _print(states: dict[str, str], *, counted: bool, as_json: bool) -> None:
    counts = Counter(states.values())
    if not counted:
        print_job_states(states, as_json=as_json)
    elif as_json:
        print_json(dict(counts))
    else:
        click.echo(", ".join(f"{count:,} {state}" for state, count in counts.items()) or "no jobs")
