"""`conveyor agent`: this machine's slots for the jobs of a server elsewhere."""

from __future__ import annotations

import asyncio
import logging
from contextlib import closing
from math import inf
from typing import Any

import click

from ..client.app import Conveyor
from ..core.command_policy import CommandRules
from ..core.retry import Exponential, pause
from ..errors import UnavailableError, UsageError
from ..settings import Settings, load_settings, token_from
from ..store.http.payloads import Terms
from ..store.http.store import HttpStore
from ..system.sd_notify import manager
from .server import set_up_log
from .shared.command_flags import command_options, rules_from
from .shared.common import load_app
from .shared.heartbeat import Pulse
from .shared.shell_warning import warn_of_shell
from .shared.shutdown import OTHERS, Exit
from .shared.signals import listening
from .working import make_worker, see_through

log = logging.getLogger("conveyor.agent")

# How an agent asks again for a server that is not there yet.
PATIENCE = Exponential(first=0.2, factor=2.0, longest=10.0)


@click.command("agent")
@click.option("--server", "url", metavar="URL", help="The server, like https://jobs.example.com.")
@click.option("--token-file", metavar="PATH", help="The file that holds the agent's token.")
@click.option("--app", metavar="MODULE:NAME", help="The application whose tasks it can run.")
@click.option("--queue", "-q", "queues", multiple=True, help="NAME or NAME:WEIGHT.")
@click.option("--concurrency", "-c", type=int, help="How many jobs at once.")
@click.option("--one-shot", is_flag=True, help="Run one job, and end.")
@click.option("--strict", is_flag=True, help="Queues in order, not by weight.")
@click.option(
    "--label", "labels", multiple=True, help="A label jobs may require; 'gpu!only': and must."
)
@click.option("--allow-commands", is_flag=True, help="Run command jobs too.")
@command_options
@click.option("--drain", help="How long running jobs may finish at shutdown.")
@click.option("--health-file", help="Where to say every second how it is, for probes.")
@click.option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")
def agent_command(one_shot: bool, strict: bool, allow_commands: bool, **flags: Any) -> int:
    warn_of_shell()
    if one_shot and flags["concurrency"] not in (None, 1):
        raise UsageError("--one-shot is for one job, so leave --concurrency out")
    if one_shot:
        flags["concurrency"] = 1
    settings = load_settings(flags)
    url = str(settings["url"])
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"name the server: --server https://jobs.example.com, not {url!r}")
    if not settings["app"] and not allow_commands:
        raise UsageError(
            "this agent could run nothing: give it the code of tasks with --app module:name, "
            "let it run commands with --allow-commands, or both"
        )
    rules = rules_from(flags, allowed=allow_commands, only=not settings["app"])
    set_up_log(settings)
    belt = _belt(settings, url, token_from(settings))
    most = 1 if one_shot else inf
    try:
        ends = asyncio.run(_serve(belt, settings, strict=strict, most=most, rules=rules))
    finally:
        belt.close()
    return ends.finish()


def _belt(settings: Settings, url: str, token: str) -> Conveyor:
    if not settings["app"]:
        return Conveyor(url, token=token)
    belt = load_app(str(settings["app"]))
    belt.divert(url, token=token)
    return belt


async def _serve(
    belt: Conveyor, settings: Settings, *, strict: bool, most: float, rules: CommandRules
) -> Exit:
    ends = Exit(asyncio.get_running_loop(), float(settings["drain"]))
    pulse = Pulse(str(settings["health_file"]), manager())
    with listening(ends.act, OTHERS), closing(pulse):
        terms = await _terms(belt, ends)
        if terms is None:
            return ends
        worker = make_worker(
            belt,
            settings,
            strict=strict,
            pulse=pulse,
            rules=rules,
            lease_for=terms.lease_for,
            beat=terms.beat,
            most=most,
        )
        await see_through(worker, belt, ends, what="agent", where="server")
    ends.over()
    return ends


async def _terms(belt: Conveyor, ends: Exit) -> Terms | None:
    """Ask the server what it wants of agents, until it answers or a signal comes."""
    store = belt.store
    assert isinstance(store, HttpStore), "its address is a server's"
    tries = 0
    while not ends.asked:
        asking = asyncio.create_task(_ask(store))
        await ends.stay(asking)
        if not asking.done():
            asking.cancel()
            return None
        try:
            return await asking
        except UnavailableError as error:
            tries += 1
            wait = pause(PATIENCE, tries)
            log.warning("server.away retry_in=%.1f error=%s", wait, error)
            await ends.stay(asyncio.create_task(asyncio.sleep(wait)))
    return None


async def _ask(store: HttpStore) -> Terms:
    return await store.terms()
