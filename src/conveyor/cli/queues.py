"""`conveyor queues`: lists, pauses and resumes queues."""

from __future__ import annotations

import click
import msgspec

from ..core.job import State
from .shared.audit_trail import audited
from .shared.options import json_option, url_option
from .shared.output import print_json, print_table
from .shared.store_access import open_configured_store, require_names


@click.command("queues")
@click.argument("action", type=click.Choice(["list", "pause", "resume"]), default="list")
@click.argument("names", nargs=-1)
@json_option
@url_option
def queues_command(action: str, names: tuple[str, ...], as_json: bool, url: str | None) -> None:
    with open_configured_store(url) as store, audited(store) as record:
        if action != "list":
            require_names(action, names, "queue")
            for name in names:
                store.set_paused(name, paused=action == "pause").result()
                record(f"{action} queue", name)
            return
        queues = store.counts().result()
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
