"""`conveyor scale`: machines that come and go with the work."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import closing
from typing import Any

import click
import msgspec

from ..autoscaler.config import NAME
from ..autoscaler.plan import Plan, Tally
from ..autoscaler.status import Status, read_note
from ..core.duration import parse_duration
from ..errors import NotFoundError, UsageError
from ..settings import load_settings, token_from
from ..store.messages import Leader
from ..store.open import open_store
from ..system.sd_notify import READY, STOPPING, manager, notify
from .shared.log_setup import configure_logging
from .shared.options import json_option, url_option
from .shared.output import format_duration, format_time, print_json, print_stderr, print_table
from .shared.scaler_thread import Fleet, configuration
from .shared.signals import listening
from .shared.store_access import open_configured_store
from .simulate import simulate_command

POOLS = ("POOL", "WANTED", "HAVE", "BOOTING", "IDLE", "BUSY", "DRAINING", "OTHER")
# How many of the last acts are printed.
SHOWN = 10


@click.group("scale", invoke_without_command=True)
@click.option("--config", "path", metavar="TOML", help="The policy, the server and the providers.")
@click.option("--every", default="10s", show_default=True, help="How often to look.")
@click.option("--dry-run", is_flag=True, help="Look once, print what would be done and why.")
@click.option("--token-file", metavar="PATH", help="The file that holds an admin's token.")
@click.option("--lease", help="The agents' lease, where the store is no server: as it has it.")
@click.option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")
@url_option
@click.pass_context
def scale_command(
    context: click.Context, /, path: str | None, every: str, dry_run: bool, **flags: Any
) -> None:
    if context.invoked_subcommand is not None:
        if path:
            raise UsageError(
                f"--config is for the scaler itself, not `{context.invoked_subcommand}`"
            )
        return
    if not path:
        raise UsageError("name the file of the scaler: conveyor scale --config scale.toml")
    found = configuration(path)
    settings = load_settings(flags)
    configure_logging(settings)
    store = open_store(str(settings["url"]), token=token_from(settings))
    with closing(store):
        fleet = Fleet(found, store, every=looks(every), lease=float(settings["lease"]))
        if dry_run:
            looked = asyncio.run(fleet.look())
            _print_plan(looked.plan, looked.sight.blind)
            return
        pools = ", ".join(pool.name for pool in found.policy.pools)
        print_stderr(f"scaler {found.name!r}: pools {pools}, store {store.url}")
        asyncio.run(_until_told(fleet.run()))
    print_stderr("scaler: stopped; its machines stay")


def looks(text: str) -> float:
    """Return how often to look, in seconds."""
    return parse_duration(text, positive=True, name="--every")


async def _until_told(work: Coroutine[Any, Any, None]) -> None:
    """Run something that does not end, until a signal comes."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()

    def stop(_number: signal.Signals, _count: int) -> None:
        loop.call_soon_threadsafe(told.set)

    with listening(stop):
        notify(manager(), READY)
        working, waiting = asyncio.create_task(work), asyncio.create_task(told.wait())
        await asyncio.wait([working, waiting], return_when=asyncio.FIRST_COMPLETED)
        notify(manager(), STOPPING)
        if not working.done():
            working.cancel()
        waiting.cancel()
        ended = await asyncio.gather(working, return_exceptions=True)
        if isinstance(ended[0], Exception):
            raise ended[0]


@scale_command.command("status", help="Show what is wanted, what is there, and why.")
@click.option("--name", default=NAME, show_default=True, help="The name in the scaler's file.")
@json_option
@url_option
def status_command(name: str, as_json: bool, url: str | None) -> None:
    with open_configured_store(url) as store:
        leader, now = store.leader(name).result(), store.now()
    note = read_note(leader.note) if leader else None
    if leader is None or note is None:
        raise NotFoundError(
            f"no scaler {name!r} has looked after this store yet: `conveyor scale --config FILE`"
        )
    if as_json:
        print_json(
            {
                "leader": leader.holder if leader.until > now else None,
                **msgspec.to_builtins(note.status),
                "troubles": msgspec.to_builtins(note.memory.troubles),
            }
        )
        return
    _print_pools(note.status.pools)
    for line in _notes(note.status, leader, now):
        click.echo(line)


def _notes(status: Status, leader: Leader, now: float) -> list[str]:
    ago = now - status.at
    who = f"scaler {leader.holder} looked {format_duration(ago)} ago"
    lines = ["", who if leader.until > now else f"no scaler runs: {who}"]
    if leader.until > now and ago > 3 * status.every:
        lines[-1] += f", and should every {status.every:g} s"
    lines += [f"held: {why}" for why in status.held]
    lines += [f"provider {name} cannot be asked: {why}" for name, why in status.blind.items()]
    lines += [
        f"{format_time(each.at)} {each.did.replace('_', ' ')} {each.subject}"
        f"{f' x{each.count}' if each.count > 1 else ''}: {each.why}"
        for each in status.events[-SHOWN:]
    ]
    return lines


def _print_plan(plan: Plan, blind: Mapping[str, str]) -> None:
    _print_pools(plan.pools)
    lines = [f"start {each.pool} x{each.count}: {each.why}" for each in plan.starts]
    lines += [f"drain {each.worker} on {each.machine}: {each.why}" for each in plan.drains]
    lines += [f"stop {each.machine}: {each.why}" for each in plan.stops]
    lines += [f"held: {why}" for why in plan.held]
    lines += [f"provider {name} cannot be asked: {why}" for name, why in blind.items()]
    for line in ("", *(lines or ["nothing is to be done"])):
        click.echo(line)


def _print_pools(pools: Sequence[Tally]) -> None:
    rows = [
        tuple(
            str(part)
            for part in (
                each.pool,
                each.wanted,
                each.have,
                each.booting,
                each.idle,
                each.busy,
                each.draining,
                each.other,
            )
        )
        for each in pools
    ]
    print_table(POOLS, rows)


scale_command.add_command(simulate_command)
