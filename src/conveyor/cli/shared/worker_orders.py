"""Lists workers and gives them orders, for the commands `workers` and `agents`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import click

from ...core.duration import parse_duration
from ...core.job import State, WorkerInfo
from ...core.serving_workers import SILENT
from ...errors import NotFoundError, UsageError, WaitTimeoutError
from ...store.messages import Filter, Order
from ...store.protocol import Store
from .audit_trail import RecordAction, audited
from .completions import complete_workers
from .options import json_option, reason_option, url_option
from .output import format_age, format_count, print_json, print_stderr, print_table
from .sickness import print_sick_workers
from .store_access import find_jobs, find_workers, open_configured_store

F = TypeVar("F", bound=Callable[..., Any])
Action = Literal["list", "quiet", "resume", "drain", "remove"]

HEADINGS = ("WORKER", "STATE", "HOST", "SLOTS", "QUEUES", "LABELS", "UPTIME", "LAST SEEN")
DRAINING = "draining; it exits when its running jobs have ended"
# action -> (the order, its effect)
ORDERS: dict[Action, tuple[Order, str]] = {
    "quiet": ("quiet", "paused; it claims no jobs until it is resumed"),
    "resume": ("work", "resumed"),
    "drain": ("drain", DRAINING),
}
# How often to check whether workers are gone, in seconds; there is no hint for it.
POLL = 0.5
# How many running jobs to search for those of a worker, and how many of those to name.
SEARCHED, NAMED = 1000, 10


def worker_order_options(command: F) -> F:
    """Add the arguments and options of `workers` and `agents`."""
    actions = click.Choice(["list", "quiet", "resume", "drain", "remove"])
    for option in reversed(
        (
            click.argument("action", type=actions, default="list"),
            click.argument("names", nargs=-1, metavar="[ID]...", shell_complete=complete_workers),
            click.option(
                "--force",
                is_flag=True,
                help="Remove even busy workers; their jobs count as crashed.",
            ),
            click.option("--wait", metavar="DURATION", help="Wait for the workers to exit."),
            reason_option(),
            json_option,
            url_option,
        )
    ):
        command = option(command)
    return command


def list_or_order(
    applies: Callable[[WorkerInfo], bool],
    *,
    action: Action,
    names: tuple[str, ...],
    force: bool,
    wait: str | None,
    reason: str,
    as_json: bool,
    url: str | None,
) -> None:
    """List the workers for which `applies` is true, or give some of them an order."""
    if force and action != "remove":
        raise UsageError("--force requires the action remove")
    if wait is not None and action not in ("drain", "remove"):
        raise UsageError("--wait requires the action drain or remove")
    seconds = None if wait is None else parse_duration(wait, name="--wait")
    with open_configured_store(url) as store:
        workers = list(filter(applies, find_workers(store)))
        if action == "list":
            _print_workers(workers, store.now(), as_json=as_json)
            return
        if not names:
            raise UsageError(f"specify the ids to {action}, as `list` shows them")
        chosen = [_find_worker(workers, name, store.now()) for name in names]
        with audited(store) as record:
            for name in chosen:
                if action == "remove":
                    _remove(store, name, record, force=force, reason=reason)
                else:
                    _order(store, name, action, record, reason)
        if seconds is not None:
            _wait_until_gone(store, chosen, seconds)
        if as_json:
            print_json([each for each in find_workers(store) if each.id in chosen])


def _order(store: Store, name: str, action: Action, record: RecordAction, reason: str) -> None:
    order, effect = ORDERS[action]
    store.order(name, order, reason=reason).result()
    record(f"{action} worker", name, reason=reason)
    print_stderr(f"worker {name}: {effect}")


def _remove(store: Store, name: str, record: RecordAction, *, force: bool, reason: str) -> None:
    removed = store.dismiss(name, force=force, reason=reason).result()
    record("remove worker", name, "forced" if force else "", reason)
    for job_id in removed.jobs:
        print_stderr(f"job {job_id}: returned to its queue, counted as crashed")
    effect = "removed; it was not responding" if removed.forgotten else DRAINING
    print_stderr(f"worker {name}: {effect}")


def _wait_until_gone(store: Store, names: Sequence[str], seconds: float) -> None:
    """Wait until workers are gone; print the jobs that they still run whenever these change."""
    deadline = time.monotonic() + seconds
    printed = ""
    while True:
        known = {each.id for each in find_workers(store)}
        left = [name for name in names if name in known]
        if not left:
            return
        remaining = _describe_remaining(store, left)
        if remaining != printed:
            print_stderr(remaining)
            printed = remaining
        if time.monotonic() >= deadline:
            raise WaitTimeoutError(f"still running after {seconds:g} s: {', '.join(left)}")
        time.sleep(min(POLL, max(0.0, deadline - time.monotonic())))


def _describe_remaining(store: Store, names: Sequence[str]) -> str:
    running = find_jobs(store, Filter(states=frozenset({State.RUNNING})), limit=SEARCHED)
    held = [job for job in running if job.worker in names]
    workers, jobs = format_count(len(names), "worker"), format_count(len(held), "running job")
    lines = [f"waiting for {workers} with {jobs}"]
    lines += [f"  {job.id} {job.task} on {job.worker}" for job in held[:NAMED]]
    if len(held) > NAMED:
        lines.append(f"  and {len(held) - NAMED} more")
    return "\n".join(lines)


def _print_workers(workers: Sequence[WorkerInfo], now: float, *, as_json: bool) -> None:
    if as_json:
        print_json(workers)
        return
    rows = [
        (
            each.id,
            _status(each, now),
            each.host,
            f"{each.running}/{each.slots}",
            ",".join(each.queues),
            ",".join(each.labels) or "-",
            format_age(each.started_at, now),
            format_age(each.beat_at, now),
        )
        for each in workers
    ]
    print_table(HEADINGS, rows)
    print_sick_workers(workers, now)


def _find_worker(workers: Sequence[WorkerInfo], name: str, now: float) -> str:
    matching = [each for each in workers if each.id.startswith(name)]
    matching = [each for each in matching if each.id == name] or matching
    if len(matching) != 1:
        known = ", ".join(each.id for each in workers) or "none"
        count = len(matching) or "no"
        raise NotFoundError(f"{name!r} matches {count} workers; known workers: {known}")
    [worker] = matching
    if not worker.slots and now - worker.beat_at <= SILENT:
        raise UsageError(f"{worker.id} is a server, not a worker; stop it with SIGTERM")
    return worker.id


def _status(worker: WorkerInfo, now: float) -> str:
    if now - worker.beat_at > SILENT:
        return "silent"
    if worker.draining:
        return "draining"
    if worker.quiet:
        return "quiet"
    return "sick" if worker.sick else "alive"
