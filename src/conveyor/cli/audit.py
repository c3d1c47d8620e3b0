"""`conveyor audit`, and how the commands that change something get into it."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

import click

from ..core.access import Action
from ..store.protocol import Store
from .shared.common import json_option, moment, opened, print_json, print_table, say, url_option

HEADINGS = ("AT", "WHO", "WHERE", "WHAT", "SUBJECT", "DETAIL")


class Note(Protocol):
    """Remembers one action of a command."""

    def __call__(self, what: str, subject: str, detail: str = "") -> None: ...


@contextmanager
def audited(store: Store) -> Generator[Note]:
    """Have what a command did noted in one transaction when it ends, however it ends.

    A store that is remote notes by itself what it is asked to do.
    """
    done: list[Action] = []
    who, where = _user(), socket.gethostname()

    def note(what: str, subject: str, detail: str = "") -> None:
        done.append(Action(who=who, where=where, what=what, subject=subject, detail=detail))

    try:
        yield note
    finally:
        if done and not store.remote:
            store.note_action(done).result()


@click.command("audit")
@click.option("--limit", default=50, type=click.IntRange(1, 1000), show_default=True)
@click.option("--before", type=int, help="Page on: only lines before this number.")
@json_option
@url_option
def audit_command(limit: int, before: int | None, as_json: bool, url: str | None) -> None:
    with opened(url) as store:
        actions = store.actions(before=before, limit=limit).result()
    if as_json:
        print_json(actions)
        return
    rows = [
        (moment(each.at), each.who, each.where, each.what, each.subject, each.detail)
        for each in actions
    ]
    print_table(HEADINGS, rows)
    if len(actions) == limit:
        say(f"There may be more: --before {actions[-1].seq}")


def _user() -> str:
    # Not getpass: that believes LOGNAME, which anybody can set.
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container often has a user without a name
        return f"uid {os.getuid()}"
