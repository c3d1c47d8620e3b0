"""`conveyor mark`: notes something in the history, and lists what was noted."""

from __future__ import annotations

import click

from .shared.audit_trail import audited, user_name
from .shared.options import json_option, url_option
from .shared.output import format_time, print_json, print_stderr, print_table
from .shared.store_access import open_configured_store


@click.command("mark")
@click.argument("text", required=False)
@click.option(
    "--limit",
    default=50,
    type=click.IntRange(1, 1000),
    show_default=True,
    help="Maximum number of entries to list.",
)
@click.option("--before", type=int, help="Only entries before this number: the next page.")
@json_option
@url_option
def mark_command(
    text: str | None, limit: int, before: int | None, as_json: bool, url: str | None
) -> None:
    with open_configured_store(url) as store, audited(store) as record:
        if text is not None:
            made = store.add_mark(text, who=user_name()).result()
            record("mark", "", text)
            if as_json:
                print_json(made)
            return
        marks = store.marks(before=before, limit=limit).result()
    if as_json:
        print_json(marks)
        return
    rows = [(format_time(each.at), each.kind, each.text, each.who) for each in marks]
    print_table(("TIME", "KIND", "TEXT", "WHO"), rows)
    if marks.more:
        print_stderr(f"There are more entries: --before {marks[-1].seq}")
