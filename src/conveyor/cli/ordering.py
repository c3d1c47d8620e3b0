"""Commands about workers and agents: who is there, and what they are told to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import click

from ..core.access import is_marked
from ..core.duration import duration
from ..core.explain import SILENT
from ..core.job import State, WorkerInfo
from ..errors import NotFoundError, UsageError, WaitTimeoutError
from ..store.messages import Filter, Order
from ..store.protocol import Store
from .audit import Note, audited
from .shared.common import ago, json_option, opened, print_json, print_table, say, url_option

F = TypeVar("F", bound=Callable[..., Any])
Action = Literal["list", "quiet", "resume", "drain", "remove"]

HEADINGS = ("WORKER", "STATE", "HOST", "SLOTS", "QUEUES", "LABELS", "UP", "HEARD")
# action -> (the order, what the worker then does)
ORDERS: dict[Action, tuple[Order, str]] = {
    "quiet": ("quiet", "claim nothing"),
    "resume": ("work", "claim again"),
    "drain": ("drain", "take no more jobs, finish what runs, and end"),
}
# How often it is looked whether workers have gone, in seconds: no hint tells of it.
LOOK = 0.5
# How many running jobs are looked at to say what a worker still runs, and how many are named.
JOBS, NAMED = 1000, 10


def _options(command: F) -> F:
    actions = click.Choice(["list", "quiet", "resume", "drain", "remove"])
    for option in reversed(
        (
            click.argument("action", type=actions, default="list"),
            click.argument("names", nargs=-1, metavar="[ID]..."),
            click.option("--force", is_flag=True, help="Remove also what holds jobs: they crash."),
            click.option("--wait", metavar="DURATION", help="Wait until they are gone."),
            json_option,
            url_option,
        )
    ):
        command = option(command)
    return command


@click.command("workers")
@_options
def workers_command(as_json: bool, url: str | None, **given: Any) -> None:
    _act(lambda _worker: True, as_json=as_json, url=url, **given)


@click.command("agents")
@_options
def agents_command(as_json: bool, url: str | None, **given: Any) -> None:
    _act(lambda worker: is_marked(worker.id), as_json=as_json, url=url, **given)


def _act(
    meant: Callable[[WorkerInfo], bool],
    *,
    action: Action,
    names: tuple[str, ...],
    force: bool,
    wait: str | None,
    as_json: bool,
    url: str | None,
) -> None:
    if force and action != "remove":
        raise UsageError("--force goes with remove")
    if wait is not None and action not in ("drain", "remove"):
        raise UsageError("--wait goes with drain and remove")
    seconds = None if wait is None else duration(wait)
    with opened(url) as store:
        workers = list(filter(meant, store.workers().result()))
        if action == "list":
            _list(workers, store.now(), as_json=as_json)
            return
        if not names:
            raise UsageError(f"name what to {action}, as `list` shows it")
        chosen = [_worker(workers, name, store.now()) for name in names]
        with audited(store) as note:
            for name in chosen:
                if action == "remove":
                    _remove(store, name, note, force=force)
                else:
                    _order(store, name, action, note)
        if seconds is not None:
            _see_off(store, chosen, seconds)
        if as_json:
            print_json([each for each in store.workers().result() if each.id in chosen])


def _order(store: Store, name: str, action: Action, note: Note) -> None:
    order, does = ORDERS[action]
    store.order(name, order).result()
    note(f"{action} worker", name)
    say(f"worker {name} is told to {does}")


def _remove(store: Store, name: str, note: Note, *, force: bool) -> None:
    removed = store.dismiss(name, force=force).result()
    note("remove worker", name, "forced" if force else "")
    for job_id in removed.jobs:
        say(f"job {job_id} is given back as crashed")
    how = "is forgotten: it was silent" if removed.forgotten else "is told to drain and end"
    say(f"worker {name} {how}")


def _see_off(store: Store, names: Sequence[str], seconds: float) -> None:
    """Wait until workers are gone, saying what they still run when that has changed."""
    deadline = time.monotonic() + seconds
    told = ""
    while True:
        known = {each.id for each in store.workers().result()}
        left = [name for name in names if name in known]
        if not left:
            return
        still = _still(store, left)
        if still != told:
            say(still)
            told = still
        if time.monotonic() >= deadline:
            raise WaitTimeoutError(f"still there after {seconds:g} s: {', '.join(left)}")
        time.sleep(min(LOOK, max(0.0, deadline - time.monotonic())))


def _still(store: Store, names: Sequence[str]) -> str:
    running = store.find(Filter(states=frozenset({State.RUNNING})), limit=JOBS).result()
    held = [job for job in running if job.worker in names]
    lines = [f"{len(names)} still there, running {len(held)} job(s)"]
    lines += [f"  {job.id} {job.task}, in {job.worker}" for job in held[:NAMED]]
    if len(held) > NAMED:
        lines.append(f"  and {len(held) - NAMED} more")
    return "\n".join(lines)


def _list(workers: Sequence[WorkerInfo], now: float, *, as_json: bool) -> None:
    if as_json:
        print_json(workers)
        return
    rows = [
        (
            each.id,
            _standing(each, now),
            each.host,
            f"{each.running}/{each.slots}",
            ",".join(each.queues),
            ",".join(each.labels) or "-",
            ago(each.started_at),
            ago(each.beat_at),
        )
        for each in workers
    ]
    print_table(HEADINGS, rows)


def _worker(workers: Sequence[WorkerInfo], name: str, now: float) -> str:
    fitting = [each for each in workers if each.id.startswith(name)]
    fitting = [each for each in fitting if each.id == name] or fitting
    if len(fitting) != 1:
        known = ", ".join(each.id for each in workers) or "none"
        raise NotFoundError(f"{name!r} fits {len(fitting)} workers; there are: {known}")
    [worker] = fitting
    if not worker.slots and now - worker.beat_at <= SILENT:
        raise UsageError(f"{worker.id} is a server, which takes no orders: end it with SIGTERM")
    return worker.id


def _standing(worker: WorkerInfo, now: float) -> str:
    if now - worker.beat_at > SILENT:
        return "silent"
    return "draining" if worker.draining else "quiet" if worker.quiet else "alive"
