"""`conveyor agent`: a worker for the jobs of a server on another machine."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from math import inf
from typing import Any

import click

from ..client.app import Conveyor
from ..core.command_policy import CommandRules
from ..core.event_log import open_event_log
from ..core.retry import Exponential, retry_delay
from ..errors import UnavailableError, UsageError
from ..settings import TOKEN, Settings, load_settings, take_token, token_from
from ..store.http.payloads import ServerTerms
from ..store.http.store import HttpStore
from ..system.sd_notify import notify_socket
from ..worker.event_loop import run_in_event_loop
from ..worker.worker import Worker
from .shared.application import belt_without_app, export_store, load_configured_app
from .shared.command_flags import command_options, command_rules
from .shared.heartbeat import Heartbeat
from .shared.log_setup import configure_logging
from .shared.metrics_port import served_metrics
from .shared.options import app_option, log_options
from .shared.output import print_stderr
from .shared.shell_warning import warn_of_shell
from .shared.shutdown import Shutdown, worker_signals
from .shared.signals import handle_signals
from .shared.worker_options import (
    concurrency_option,
    drain_option,
    health_file_option,
    label_option,
    metrics_options,
    queue_option,
    strict_option,
)
from .shared.worker_process import make_worker, run_until_stopped

log = open_event_log("agent")

# An address that does not respond at all is reported after this long, in seconds.
PATIENCE = 1.0
# How often the token file is read, in seconds.
READ_TOKEN_EVERY = 2.0
# How an agent retries a server that is not up yet.
BACKOFF = Exponential(first=0.2, factor=2.0, longest=10.0)


@click.command("agent")
@click.option("--server", "url", metavar="URL", help="Server, like https://jobs.example.com.")
@click.option("--token-file", metavar="PATH", help="File that contains the agent's token.")
@app_option("Application whose tasks the agent can run.")
@queue_option
@concurrency_option
@click.option("--one-shot", is_flag=True, help="Run one job and exit.")
@strict_option
@label_option
@click.option("--allow-commands", is_flag=True, help="Also run command jobs.")
@command_options
@drain_option
@health_file_option
@metrics_options
@log_options
def agent_command(one_shot: bool, strict: bool, allow_commands: bool, **flags: Any) -> int:
    warn_of_shell()
    if one_shot and flags["concurrency"] not in (None, 1):
        raise UsageError("--one-shot runs a single job; remove --concurrency")
    if one_shot:
        flags["concurrency"] = 1
    settings = load_settings(flags)
    url = str(settings["url"])
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"invalid server {url!r}: expected a URL, like https://jobs.example.com")
    if not settings["app"] and not allow_commands:
        raise UsageError(
            "this agent cannot run any job: add --app module:name to run tasks, "
            "--allow-commands to run commands, or both"
        )
    rules = command_rules(flags, allowed=allow_commands, only=not settings["app"])
    # The environment is readable for every job of this user.
    given = take_token()
    read_token = partial(token_from, settings, given)
    token = read_token()
    belt = _open_belt(settings, url, token)
    configure_logging(settings)
    most = 1 if one_shot else inf
    try:
        shutdown, has_new_token = run_in_event_loop(
            _run_agent(
                belt, settings, token, read_token=read_token, strict=strict, most=most, rules=rules
            )
        )
    finally:
        belt.close()
    code = shutdown.finish()
    if has_new_token and not shutdown.is_requested:
        # The name of a worker ends with the id of its token, so it takes another worker.
        print_stderr("agent: the token has changed; starting again with the new one")
        environment = {**os.environ, TOKEN: given} if given else os.environ
        os.execve(sys.executable, sys.orig_argv, environment)  # noqa: S606 - ourselves
    return code


def _open_belt(settings: Settings, url: str, token: str) -> Conveyor:
    if not settings["app"]:
        return belt_without_app(url, token)
    export_store(url, str(settings["token_file"]))
    belt = load_configured_app(settings)
    belt.divert(url, token=token)
    return belt


async def _run_agent(
    belt: Conveyor,
    settings: Settings,
    token: str,
    *,
    read_token: Callable[[], str],
    strict: bool,
    most: float,
    rules: CommandRules,
) -> tuple[Shutdown, bool]:
    """Run the agent until it has stopped; return also whether `read_token` has a new token."""
    shutdown = Shutdown(asyncio.get_running_loop(), float(settings["drain"]))
    heartbeat = Heartbeat(str(settings["health_file"]), notify_socket())
    with handle_signals(shutdown.handle_signal, worker_signals()), closing(heartbeat):
        terms = await _wait_for_terms(belt, shutdown)
        if terms is None:
            return shutdown, False
        worker = make_worker(
            belt,
            settings,
            strict=strict,
            heartbeat=heartbeat,
            rules=rules,
            lease_for=terms.lease_for,
            beat=terms.beat,
            most=most,
        )
        watching = asyncio.create_task(_drain_for_new_token(worker, settings, token, read_token))
        with served_metrics(worker, settings), shutdown.keep_failure():
            await run_until_stopped(worker, belt, shutdown, what="agent", where="server")
        has_new_token = watching.done() or bool(worker.denied and _has_changed(token, read_token))
        watching.cancel()
    shutdown.worker_ended()
    return shutdown, has_new_token and worker.finished < most


async def _wait_for_terms(belt: Conveyor, shutdown: Shutdown) -> ServerTerms | None:
    """Request the terms for agents until the server answers, or a signal comes (None)."""
    store = belt.store
    assert isinstance(store, HttpStore), "its address is a server's"
    tries = 0
    silent = asyncio.get_running_loop().call_later(
        PATIENCE, log.warning, "server.silent url=%s after=%.0f s; still trying", belt.url, PATIENCE
    )
    while not shutdown.is_requested:
        request = asyncio.create_task(_fetch_terms(store))
        await shutdown.wait_for(request)
        silent.cancel()
        if not request.done():
            request.cancel()
            return None
        try:
            return await request
        except UnavailableError as error:
            tries += 1
            wait = retry_delay(BACKOFF, tries)
            log.warning("server.unreachable retry_in=%.1f error=%s", wait, error)
            await shutdown.wait_for(asyncio.create_task(asyncio.sleep(wait)))
    return None


async def _drain_for_new_token(
    worker: Worker, settings: Settings, token: str, read_token: Callable[[], str]
) -> None:
    """Drain the worker when the token file has another token; the old one may still be valid."""
    while not _has_changed(token, read_token):  # noqa: ASYNC110 - it is a file
        await asyncio.sleep(READ_TOKEN_EVERY)
    worker.drain(float(settings["drain"]))


def _has_changed(token: str, read_token: Callable[[], str]) -> bool:
    try:
        return read_token() not in ("", token)
    except UsageError:  # the file is just being replaced
        return False


async def _fetch_terms(store: HttpStore) -> ServerTerms:
    return await store.terms(repeats=False)
