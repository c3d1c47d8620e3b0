"""`conveyor audit`: lists manual changes and who made them."""

from __future__ import annotations

import click

from ..core.access import Action, ActionFilter
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
@click.option("--who", metavar="NAME", help="Only entries of this user or token.")
@click.option("--what", metavar="ACTION", help="Only entries of this action, like `pause queue`.")
@click.option("--subject", metavar="NAME", help="Only entries about this job, queue or worker.")
@json_option
@url_option
def audit_command(
    limit: int,
    before: int | None,
    who: str | None,
    what: str | None,
    subject: str | None,
    as_json: bool,
    url: str | None,
) -> None:
    which = ActionFilter(who=who, what=what, subject=subject)
    with open_configured_store(url) as store:
        actions = store.actions(before=before, limit=limit, which=which).result()
    if as_json:
        print_json(actions)
        return
    rows = [
        (format_time(each.at), each.who, each.where, each.what, each.subject, _detail(each))
        for each in actions
    ]
    print_table(HEADINGS, rows)
    if actions.more:
        last = actions[-1].seq if actions.next is None else actions.next
        print_stderr(f"There are more entries: --before {last}")


def _detail(action: Action) -> str:
    """Return the detail with the number of jobs and the reason."""
    count = "" if action.count is None else f"{action.count} jobs"
    reason = action.reason if action.reason not in action.detail else ""
    return "; ".join(filter(None, (action.detail, count, reason)))
