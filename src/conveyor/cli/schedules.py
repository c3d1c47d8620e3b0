"""`conveyor schedules`: lists, pauses, resumes, runs and removes schedules."""

from __future__ import annotations

import click

from ..core.job import ScheduleInfo
from ..store.protocol import Store
from .shared.audit_trail import audited, who_runs_this
from .shared.completions import complete_schedules
from .shared.options import json_option, reason_option, url_option
from .shared.output import format_time, print_json, print_stderr, print_table
from .shared.store_access import find_schedules, open_configured_store, require_names

# A schedule whose tick is later than this, in seconds, is declared by no running program.
LATE = 60.0


@click.command("schedules")
@click.argument(
    "action", type=click.Choice(["list", "pause", "resume", "run", "remove"]), default="list"
)
@click.argument("names", nargs=-1, shell_complete=complete_schedules)
@reason_option("Reason to record, and to show while it is paused.")
@json_option
@url_option
def schedules_command(
    action: str, names: tuple[str, ...], reason: str, as_json: bool, url: str | None
) -> None:
    with open_configured_store(url) as store, audited(store) as record:
        if action != "list":
            require_names(action, names, "schedule")
            for name in names:
                _change(store, action, name, reason)
                record(f"{action} schedule", name, reason=reason)
            return
        schedules, now = find_schedules(store), store.now()
    if as_json:
        print_json(schedules)
        return
    rows = [
        (
            each.name,
            _status(each, now),
            each.cron,
            each.timezone,
            each.missed,
            format_time(each.last_at),
            format_time(each.next_at),
        )
        for each in schedules
    ]
    print_table(("SCHEDULE", "STATUS", "RULE", "TIME ZONE", "MISSED", "LAST", "NEXT"), rows)


def _change(store: Store, action: str, name: str, reason: str) -> None:
    if action == "remove":
        store.remove_schedule(name, reason=reason).result()
        print_stderr(
            f"schedule {name!r} is removed; an application that still declares it adds it again "
            "when it starts"
        )
    elif action == "run":
        store.run_schedule(name, reason=reason).result()
        print_stderr(f"schedule {name!r} is due now; an application that declares it enqueues it")
    else:
        store.pause_schedule(
            name, paused=action == "pause", reason=reason, by=who_runs_this()
        ).result()


def _status(schedule: ScheduleInfo, now: float) -> str:
    if schedule.paused:
        return "paused"
    return "overdue" if now - schedule.next_at > LATE else "open"
