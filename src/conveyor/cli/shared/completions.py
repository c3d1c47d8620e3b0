"""What the shell completes from the store: ids of jobs, and names of queues and tasks.

A completion must not create a store, print, or take long: whatever goes wrong, it offers nothing.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection, Iterable
from contextlib import redirect_stderr, redirect_stdout
from typing import TypeVar

import click
from click.shell_completion import CompletionItem

from ...core.foreign_text import escape_line
from ...core.job import JobRecord, State
from ...core.pending import run_sync
from ...store.call_style import BlockingCalls
from ...store.messages import Filter
from ...store.page_walk import read_queues, read_schedules, read_workers
from ...store.protocol import Store

T = TypeVar("T")

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

# Nothing that a shell would run, replace or take for an option.
PLAIN = re.compile(r"[\w@%+=:,./][\w@%+=:,./-]*")
NEWEST = 200
# How long to wait for the store, in seconds.
TIMEOUT = 2.0


def complete_jobs(states: Collection[State] = ()) -> Complete:
    """Return a completion of the ids of the newest jobs in these states; none for all."""

    def complete(
        context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        given: tuple[str, ...] = context.params.get("job_ids") or ()
        found = _read(context, lambda store: _newest_jobs(store, states))
        return [
            CompletionItem(job.id, help=escape_line(f"{job.state} {job.task}"))
            for job in found
            if (job.id.startswith(incomplete) or job.id.endswith(incomplete))
            and job.id not in given
            and _is_plain(job.id)
        ]

    return complete


def _complete_names(read: Callable[[Store], Iterable[str]]) -> Complete:
    """Return a completion of the names that `read` finds in the store."""

    def complete(
        context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return _matching(_read(context, lambda store: list(read(store))), incomplete)

    return complete


def complete_states(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the state of a job."""
    return _matching(State, incomplete)


def _newest_jobs(store: Store, states: Collection[State]) -> list[JobRecord]:
    return store.find(Filter(states=frozenset(states)), limit=NEWEST).result(TIMEOUT)


def _read(context: click.Context, read: Callable[[Store], list[T]]) -> list[T]:
    url = context.params.get("url")
    printed = io.StringIO()
    # Imported here because options name completions, and a probe has options.
    from .store_access import open_configured_store  # noqa: PLC0415

    try:
        with (
            redirect_stdout(printed),
            redirect_stderr(printed),
            open_configured_store(url) as store,
        ):
            return read(store)
    except (Exception, SystemExit):  # noqa: BLE001 - the application may raise anything
        return []


def _matching(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [
        CompletionItem(str(name))
        for name in names
        if name.startswith(incomplete) and _is_plain(name)
    ]


def _is_plain(name: str) -> bool:
    """Whether a shell reads a name as one word: it inserts completions as they are."""
    return PLAIN.fullmatch(name) is not None


complete_queues = _complete_names(
    lambda store: (queue.name for queue in run_sync(read_queues(BlockingCalls(), store, TIMEOUT)))
)
# The tasks of the newest jobs.
complete_tasks = _complete_names(
    lambda store: sorted({job.task for job in _newest_jobs(store, ())})
)
complete_workers = _complete_names(
    lambda store: (worker.id for worker in run_sync(read_workers(BlockingCalls(), store, TIMEOUT)))
)
complete_schedules = _complete_names(
    lambda store: (
        schedule.name for schedule in run_sync(read_schedules(BlockingCalls(), store, TIMEOUT))
    )
)
