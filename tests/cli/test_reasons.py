"""A reason given on the command line is in `conveyor audit`, in every store and over HTTP."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import pytest
from shell import Command

sys.path.append(str(Path(__file__).parents[1] / "store"))
from calls import new, put
from served import Serving

from conveyor.cli.main import COMMANDS, cli
from conveyor.core.job import ScheduleInfo, WorkerInfo
from conveyor.store.memory.store import MemoryStore
from conveyor.store.open import open_store
from conveyor.store.protocol import Store

WORKERS = "w1", "w2", "w3"
AGENTS = "a1@abcdefgh", "a2@abcdefgh", "a3@abcdefgh"
ENDED = {"retry-one", "retry-all", "delete-one", "delete-all"}
# Each command and action that takes --reason, and arguments with which it changes something.
CALLS: dict[str, Sequence[str]] = {
    "cancel": ("cancel-one",),
    "cancel of a filter": ("--queue", "cancel-all", "--yes"),
    "retry": ("retry-one",),
    "retry of a filter": ("--queue", "retry-all", "--state", "cancelled", "--yes"),
    "delete": ("delete-one",),
    "delete of a filter": ("--queue", "delete-all", "--yes"),
    "queues pause": ("q",),
    "queues resume": ("q",),
    "queues capacity": ("q", "--to", "5"),
    "schedules pause": ("nightly",),
    "schedules resume": ("nightly",),
    "schedules run": ("nightly",),
    "schedules remove": ("nightly",),
    "workers quiet": (WORKERS[0],),
    "workers resume": (WORKERS[0],),
    "workers drain": (WORKERS[1],),
    "workers remove": (WORKERS[2],),
    "agents quiet": (AGENTS[0],),
    "agents resume": (AGENTS[0],),
    "agents drain": (AGENTS[1],),
    "agents remove": (AGENTS[2],),
}


@pytest.fixture(params=["sqlite", "postgres", "memory over http", "sqlite over http"])
def url(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """Return the address of a store with something to change."""
    with ExitStack() as stack:
        kind, _, over = str(request.param).partition(" over ")
        address = str(folder / "reasons.db")
        if kind == "postgres":
            address = stack.enter_context(request.getfixturevalue("schemas").one())
        store: Store = MemoryStore() if kind == "memory" else open_store(address)
        stack.callback(store.close)
        fill(store)
        if over:
            serving = Serving(store)
            stack.callback(serving.close)
            address = serving.url
        yield address


def fill(store: Store) -> None:
    """Put into a store what the calls change."""
    for name in ("cancel-one", "cancel-all", "q", *ENDED):
        put(store, new(id=name, queue=name))
    for name in ENDED:
        store.cancel(name, reason="because").result()
    nightly = ScheduleInfo(
        name="nightly", cron="@daily", timezone="UTC", missed="skip", next_at=store.now()
    )
    store.put_schedule(nightly).result()
    for name in (*WORKERS, *AGENTS):
        store.beat(
            WorkerInfo(
                id=name, host="h", boot_id="b", pid=1, pid_started=2.0, started_at=3.0, slots=1,
                queues=("q",),
            )
        ).result()  # fmt: skip


def commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Return all commands, those of groups too, by name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def taking_reasons(group: click.Group) -> set[str]:
    """Return each command with --reason, and each of its actions if it has several."""
    found: set[str] = set()
    for name, command in commands(group):
        if any("--reason" in parameter.opts for parameter in command.params):
            actions = [
                choice
                for parameter in command.params
                if isinstance(parameter, click.Argument)
                and isinstance(parameter.type, click.Choice)
                for choice in parameter.type.choices
                if choice != "list"
            ]
            found |= {f"{name} {action}" for action in actions} or {name}
    return found


def test_every_command_that_takes_a_reason_is_called_here() -> None:
    assert len(dict(commands(cli))) > len(COMMANDS)
    assert taking_reasons(cli) == {name for name in CALLS if " of " not in name}


def test_the_reason_of_every_command_is_in_the_audit(conveyor: Command, url: str) -> None:
    lost: list[str] = []
    for number, (name, args) in enumerate(CALLS.items()):
        reason = f"reason number {number}"
        words = name.removesuffix(" of a filter").split()
        ran = conveyor(*words, *args, "--reason", reason, "--url", url)
        assert ran.code == 0, (name, ran)
        newest: dict[str, Any] = conveyor("audit", "--limit", 1, "--json", "--url", url).data[0]
        if newest["reason"] != reason:
            lost.append(name)
        elif reason not in conveyor("audit", "--limit", 1, "--url", url).out:
            lost.append(f"{name}, as a table")
    assert not lost
    lines = conveyor("audit", "--json", "--url", url).data
    assert len(lines) == len(CALLS)
