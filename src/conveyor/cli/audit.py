"""`conveyor audit`: lists manual changes and who made them."""

from __future__ import annotations

import click

from .shared.options import json_option, url_option
from .shared.output import format_time, print_json, print_stderr, print_table
from .shared.store_access import open_configured_store

HEADINGS = ("TIME", "USER", "HOST", "ACTION", "SUBJECT", "DETAIL")


@click.command("audit")
@click.option(
    "--limit",
    default=50,
    type=click.IntRange(1, 1000),
    show_default=True,
    help="Maximum number of entries.",
)
@click.option("--before", type=int, help="Only entries before this number: the next page.")
@json_option
@url_option
def audit_command(limit: int, before: int | None, as_json: bool, url: str | None) -> None:
    with open_configured_store(url) as store:
        actions = store.actions(before=before, limit=limit).result()
    if as_json:
        print_json(actions)
        return
    rows = [
        (format_time(each.at), each.who, each.where, each.what, each.subject, each.detail)
        for each in actions
    ]
    print_table(HEADINGS, rows)
    if actions.more:
        print_stderr(f"There are more entries: --before {actions[-1].seq}")
