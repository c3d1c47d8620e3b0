"""Selects the jobs of a filter, asks for a confirmation, and changes them page by page."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import click
import msgspec

from ...core.duration import parse_duration
from ...core.job import State
from ...core.pending import Pending
from ...errors import ConveyorError, InvalidTransitionError, NotFoundError, UsageError
from ...store.messages import Filter
from ...store.protocol import Store
from .options import (
    filter_options,
    parse_state,
    queue_option,
    reason_option,
    state_option,
    task_option,
)
from .output import ask, format_count, print_stderr

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

PAGE = 1000
# A filter selects at most this many jobs at once.
MOST = 100_000
# How long to wait for outstanding requests after an interrupt, in seconds.
REQUEST_TIMEOUT = 10.0


def selection_options(states: str) -> Callable[[F], F]:
    """Return a decorator that adds a filter, --limit, --yes and --reason.

    The filter has --queue, --task, --state, --older, --worker, --error and --text; `states`
    describes the default of --state.
    """

    def decorate(command: F) -> F:
        for option in reversed(
            (
                queue_option("Jobs of this queue."),
                task_option("Jobs of this task."),
                state_option(f"Jobs in this state; repeatable (default: {states})."),
                click.option("--older", metavar="DURATION", help="Only jobs older than DURATION."),
                filter_options,
                click.option(
                    "--limit",
                    default=MOST,
                    type=click.IntRange(1, MOST),
                    show_default=True,
                    help="Maximum number of jobs of a filter, newest first.",
                ),
                click.option("--yes", is_flag=True, help="Do not ask for confirmation."),
                reason_option(),
            )
        ):
            command = option(command)
        return command

    return decorate


def read_selection(
    store: Store,
    given: dict[str, Any],
    *,
    default: Iterable[State],
    allowed: Iterable[State],
    done: str,
) -> Filter:
    """Return the filter that the options of `selection_options` describe."""
    states = frozenset(map(parse_state, given["states"]))
    wrong = sorted(states - frozenset(allowed))
    if wrong:
        raise UsageError(
            f"--state {wrong[0]}: such jobs cannot be {done}; "
            f"choose from: {', '.join(sorted(allowed))}"
        )
    older = given["older"]
    return Filter(
        queue=given["queue"],
        task=given["task"],
        states=states or frozenset(default),
        worker=given["worker"],
        error=given["error"],
        text=given["text"],
        enqueued_before=None
        if older is None
        else store.now() - parse_duration(older, name="--older"),
    )


def check_selection(job_ids: Sequence[str], *filters: object) -> bool:
    """Return whether a command has a filter instead of job ids; UsageError for both or neither."""
    filtered = any(filters)
    if filtered is bool(job_ids):
        raise UsageError(
            "specify either job ids or a filter (--queue, --task, --state, --older, --worker, "
            "--error or --text)"
        )
    return filtered


def select_pages(
    store: Store, matching: Filter, *, limit: int = MOST, page_size: int = PAGE
) -> Iterator[list[str]]:
    """Return the ids of at most `limit` matching jobs, newest first, page by page.

    Each page is read when it is asked for, so a job that matches no more is left out.
    """
    before = matching.before
    while limit > 0:
        which = msgspec.structs.replace(matching, before=before)
        page = store.find(which, limit=min(page_size, limit)).result()
        if page:
            yield [job.id for job in page]
        limit -= len(page)
        if not page.more:
            return
        before = page[-1].seq if page.next is None else page.next


def confirm(action: str, count: int, *, limit: int, yes: bool) -> None:
    """Ask whether to change that many jobs, unless there are none or `yes` is given."""
    if count == limit:
        print_stderr(f"There may be more than {limit:,} jobs: repeat the command for the others.")
    if yes or not count:
        return
    jobs = format_count(count, "job")
    if not sys.stdin.isatty():
        raise UsageError(
            f"cannot ask whether to {action} {jobs}, as stdin is no terminal: add --yes"
        )
    ask(f"{action.capitalize()} {jobs}?")


def change_jobs(
    job_ids: Sequence[str], change: Callable[[str], Pending[T]], record: Callable[[str], None]
) -> dict[str, T | ConveyorError]:
    """Change a page of jobs; return for each the answer, or why it could not be changed.

    `record` is called with each job that was changed, even after an interrupt.
    """
    requests: dict[str, Pending[T]] = {}
    answers: dict[str, T | ConveyorError] = {}
    try:
        asyncio.run(_request_all(dict.fromkeys(job_ids), change, requests))
        for job_id, pending in requests.items():
            try:
                answers[job_id] = pending.result()
            except (InvalidTransitionError, NotFoundError) as error:
                answers[job_id] = error
    finally:
        # The store carries out all requests, even after an interrupt here.
        for job_id in _changed(requests):
            record(job_id)
    return answers


async def _request_all(
    job_ids: Iterable[str],
    change: Callable[[str], Pending[T]],
    requests: dict[str, Pending[T]],
) -> None:
    """Send all requests before the first answer: requests from an event loop share a commit."""
    for job_id in job_ids:
        requests[job_id] = change(job_id)


def _changed(requests: dict[str, Pending[T]]) -> Iterator[str]:
    """Return the jobs whose request succeeded."""
    deadline = time.monotonic() + REQUEST_TIMEOUT
    for job_id, pending in requests.items():
        with suppress(ConveyorError, TimeoutError):
            pending.result(max(0.0, deadline - time.monotonic()))
            yield job_id
