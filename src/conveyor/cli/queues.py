"""`conveyor queues`: lists, pauses and resumes queues."""

from __future__ import annotations

import click
import msgspec

from ..core.job import State
from ..errors import NotFoundError
from ..store.protocol import Store
from .shared.audit_trail import audited
from .shared.completions import complete_queues
from .shared.options import json_option, url_option
from .shared.output import print_json, print_table
from .shared.store_access import find_queues, find_workers, open_configured_store, require_names

# How many queues an error lists.
KNOWN = 20


@click.command("queues")
@click.argument("action", type=click.Choice(["list", "pause", "resume"]), default="list")
@click.argument("names", nargs=-1, shell_complete=complete_queues)
@json_option
@url_option
def queues_command(action: str, names: tuple[str, ...], as_json: bool, url: str | None) -> None:
    with open_configured_store(url) as store, audited(store) as record:
        if action != "list":
            require_names(action, names, "queue")
            for name in names:
                _check_known(store, name)
                store.set_paused(name, paused=action == "pause").result()
                record(f"{action} queue", name)
            return
        queues = find_queues(store)
    if as_json:
        print_json([{**msgspec.to_builtins(queue), "depth": queue.depth} for queue in queues])
        return
    rows = [
        (
            queue.name,
            "paused" if queue.paused else "open",
            f"{queue.depth}" + ("" if queue.capacity is None else f"/{queue.capacity}"),
            str(queue.offers),
            *(str(queue.counts.get(state, 0)) for state in State),
        )
        for queue in queues
    ]
    print_table(("QUEUE", "STATUS", "DEPTH", "OFFERS", *(state.upper() for state in State)), rows)


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
