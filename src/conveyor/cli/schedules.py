"""`conveyor schedules`: lists, pauses and resumes schedules."""

from __future__ import annotations

import click

from .shared.audit_trail import audited
from .shared.completions import complete_schedules
from .shared.options import json_option, url_option
from .shared.output import format_time, print_json, print_table
from .shared.store_access import open_configured_store, require_names


@click.command("schedules")
@click.argument("action", type=click.Choice(["list", "pause", "resume"]), default="list")
@click.argument("names", nargs=-1, shell_complete=complete_schedules)
@json_option
@url_option
def schedules_command(action: str, names: tuple[str, ...], as_json: bool, url: str | None) -> None:
    with open_configured_store(url) as store, audited(store) as record:
        if action != "list":
            require_names(action, names, "schedule")
            for name in names:
                store.pause_schedule(name, paused=action == "pause").result()
                record(f"{action} schedule", name)
            return
        schedules = store.schedules().result()
    if as_json:
        print_json(schedules)
        return
    rows = [
        (
            each.name,
            "paused" if each.paused else "open",
            each.cron,
            each.timezone,
            each.missed,
            format_time(each.last_at),
            format_time(each.next_at),
        )
        for each in schedules
    ]
    print_table(("SCHEDULE", "STATUS", "RULE", "TIME ZONE", "MISSED", "LAST", "NEXT"), rows)
