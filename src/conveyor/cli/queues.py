"""`conveyor queues`: lists, pauses and resumes queues, and changes their capacity."""

from __future__ import annotations

import click
import msgspec

from ..core.job import QueueInfo, State
from ..errors import NotFoundError, UsageError
from ..store.protocol import Store
from .shared.audit_trail import audited, who_runs_this
from .shared.completions import complete_queues
from .shared.options import json_option, reason_option, url_option
from .shared.output import print_json, print_table
from .shared.store_access import find_queues, find_workers, open_configured_store, require_names

# How many queues an error lists.
KNOWN = 20


@click.command("queues")
@click.argument(
    "action", type=click.Choice(["list", "pause", "resume", "capacity"]), default="list"
)
@click.argument("names", nargs=-1, shell_complete=complete_queues)
@reason_option("Reason to record, and to show while it is paused.")
@click.option("--to", metavar="N", help="For `capacity`: the new capacity, or `none`.")
@json_option
@url_option
def queues_command(
    action: str,
    names: tuple[str, ...],
    reason: str,
    to: str | None,
    as_json: bool,
    url: str | None,
) -> None:
    with open_configured_store(url) as store, audited(store) as record:
        if action != "list":
            require_names(action, names, "queue")
            for name in names:
                if action == "capacity":
                    capacity = _parse_capacity(to)
                    store.set_capacity(name, capacity, reason=reason).result()
                    told = "unbounded" if capacity is None else str(capacity)
                    record("set capacity", name, told, reason)
                    continue
                _check_known(store, name)
                store.set_paused(
                    name, paused=action == "pause", reason=reason, by=who_runs_this()
                ).result()
                record(f"{action} queue", name, reason=reason)
            return
        queues = find_queues(store)
    if as_json:
        print_json([{**msgspec.to_builtins(queue), "depth": queue.depth} for queue in queues])
        return
    rows = [
        (
            queue.name,
            _status(queue),
            f"{queue.depth}" + ("" if queue.capacity is None else f"/{queue.capacity}"),
            str(queue.offers),
            *(str(queue.counts.get(state, 0)) for state in State),
        )
        for queue in queues
    ]
    print_table(("QUEUE", "STATUS", "DEPTH", "OFFERS", *(state.upper() for state in State)), rows)


def _status(queue: QueueInfo) -> str:
    if not queue.paused:
        return "open"
    return f"paused: {queue.pause_reason}" if queue.pause_reason else "paused"


def _parse_capacity(text: str | None) -> int | None:
    if text == "none":
        return None
    if text is None or not text.isdecimal():
        raise UsageError(f"--to must be a number of jobs, or none for no limit, got {text!r}")
    return int(text)


def _check_known(store: Store, name: str) -> None:
    """Raise NotFoundError for a queue that no job was put into and no worker serves."""
    try:
        store.queue_info(name).result()
    except NotFoundError:
        served = {queue for worker in find_workers(store) for queue in worker.queues}
        if name in served:
            return
        known = sorted(served | {queue.name for queue in find_queues(store)})
        raise NotFoundError(
            f"there is no queue {name!r}: no job was ever put into it, and no worker serves it; "
            f"known queues: {', '.join(known[:KNOWN]) or 'none'}"
        ) from None
