"""`conveyor scale`: start and stop machines as the number of waiting jobs changes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import closing
from typing import Any

import click
import msgspec

from ..autoscaler.config import DEFAULT_NAME
from ..autoscaler.plan import Plan, PoolCounts
from ..autoscaler.status import ScalerStatus, decode_note
from ..core.duration import parse_duration
from ..errors import NotFoundError, UsageError
from ..settings import load_settings, token_from
from ..store.messages import Leader
from ..store.open import open_store
from ..system.sd_notify import READY, STOPPING, notify, notify_socket
from .shared.log_setup import configure_logging
from .shared.options import json_option, log_options, url_option
from .shared.output import (
    format_duration,
    format_time,
    print_json,
    print_line,
    print_stderr,
    print_table,
)
from .shared.scaler_runner import ScalerRunner, load_config
from .shared.signals import handle_signals
from .shared.store_access import choose_command_store, open_configured_store
from .simulate import simulate_command

POOL_COLUMNS = ("POOL", "WANTED", "HAVE", "BOOTING", "IDLE", "BUSY", "DRAINING", "OTHER")
# How many of the last events are printed.
SHOWN_EVENTS = 10


@click.group("scale", invoke_without_command=True)
@click.option(
    "--config", "path", metavar="TOML", help="Configuration: policy, server and providers."
)
@click.option("--every", default="10s", show_default=True, help="Interval between two cycles.")
@click.option("--dry-run", is_flag=True, help="Print the plan and its reasons without acting.")
@click.option("--token-file", metavar="PATH", help="File with an admin token.")
@click.option("--lease", help="Lease of the agents; needed only if --url is no server.")
@log_options
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
        raise UsageError("name a configuration: conveyor scale --config scale.toml")
    config = load_config(path)
    settings = load_settings(flags)
    configure_logging(settings)
    chosen = choose_command_store(settings)
    token = token_from(settings) if chosen.token is None else chosen.token
    store = open_store(chosen.url, token=token)
    with closing(store):
        runner = ScalerRunner(
            config,
            store,
            every=parse_duration(every, positive=True, name="--every"),
            lease=float(settings["lease"]),
        )
        if dry_run:
            cycle = asyncio.run(runner.plan_once())
            _print_plan(cycle.plan, cycle.snapshot.unreachable)
            return
        pools = ", ".join(pool.name for pool in config.policy.pools)
        print_stderr(f"scaler {config.name!r}: pools {pools}, store {store.url}")
        asyncio.run(_run_until_signal(runner.run()))
    print_stderr("scaler: stopped; machines keep running")


async def _run_until_signal(scaler: Coroutine[Any, Any, None]) -> None:
    loop, signalled = asyncio.get_running_loop(), asyncio.Event()

    def stop(_number: signal.Signals, _count: int) -> None:
        loop.call_soon_threadsafe(signalled.set)

    with handle_signals(stop):
        notify(notify_socket(), READY)
        running = asyncio.create_task(scaler)
        waiting = asyncio.create_task(signalled.wait())
        await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
        notify(notify_socket(), STOPPING)
        if not running.done():
            running.cancel()
        waiting.cancel()
        [result] = await asyncio.gather(running, return_exceptions=True)
        if isinstance(result, Exception):
            raise result


@scale_command.command("status", help="Show the pools, the last cycle and the last events.")
@click.option(
    "--name",
    default=DEFAULT_NAME,
    show_default=True,
    help="Name of the scaler in its configuration.",
)
@json_option
@url_option
def status_command(name: str, as_json: bool, url: str | None) -> None:
    with open_configured_store(url) as store:
        leader, now = store.leader(name).result(), store.now()
    note = decode_note(leader.note) if leader else None
    if leader is None or note is None:
        raise NotFoundError(
            f"no scaler {name!r} has run against this store; start `conveyor scale --config FILE`"
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
    for line in _status_lines(note.status, leader, now):
        print_line(line)


def _status_lines(status: ScalerStatus, leader: Leader, now: float) -> list[str]:
    ago = now - status.at
    last = f"last cycle {format_duration(ago)} ago by scaler {leader.holder}"
    lines = ["", last if leader.until > now else f"no scaler is running; {last}"]
    if leader.until > now and ago > 3 * status.every:
        lines[-1] += f" (overdue: the interval is {status.every:g} s)"
    lines += [f"held: {why}" for why in status.held]
    lines += [f"provider {name} is unreachable: {why}" for name, why in status.blind.items()]
    lines += [
        f"{format_time(each.at)} {each.did.replace('_', ' ')} {each.subject}"
        f"{f' x{each.count}' if each.count > 1 else ''}: {each.why}"
        for each in status.events[-SHOWN_EVENTS:]
    ]
    return lines


def _print_plan(plan: Plan, unreachable: Mapping[str, str]) -> None:
    _print_pools(plan.pools)
    lines = [f"start {each.pool} x{each.count}: {each.why}" for each in plan.starts]
    lines += [f"drain {each.worker} on {each.machine}: {each.why}" for each in plan.drains]
    lines += [f"stop {each.machine}: {each.why}" for each in plan.stops]
    lines += [f"held: {why}" for why in plan.held]
    lines += [f"provider {name} is unreachable: {why}" for name, why in unreachable.items()]
    for line in ("", *(lines or ["nothing to do"])):
        print_line(line)


def _print_pools(pools: Sequence[PoolCounts]) -> None:
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
    print_table(POOL_COLUMNS, rows)


scale_command.add_command(simulate_command)
