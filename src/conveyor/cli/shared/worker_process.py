"""Runs a worker in this process until signals stop it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import closing
from typing import Any

from ...client.app import Conveyor
from ...core.command_policy import UNRESTRICTED, CommandRules
from ...core.job import State
from ...core.names import parse_weighted_queue
from ...settings import Settings
from ...system.sd_notify import notify_socket
from ...worker.event_loop import run_in_event_loop
from ...worker.worker import Worker
from .application import load_app_and_settings
from .command_flags import command_rules
from .heartbeat import Heartbeat
from .log_setup import configure_logging
from .metrics_port import served_metrics
from .output import print_stderr
from .shell_warning import warn_of_shell
from .shutdown import Shutdown, worker_signals
from .signals import handle_signals

# What runs beside a worker until both end.
Companion = Callable[[], Coroutine[Any, Any, object]]
CompanionFactory = Callable[[Conveyor, Settings], Companion | None]


def run_worker_process(
    app: str | None,
    *,
    strict: bool,
    flags: dict[str, Any],
    make_companion: CompanionFactory | None = None,
) -> int:
    """Run a worker until a signal stops it; return the exit code."""
    rules = command_rules(flags, allowed=not flags["no_commands"])
    warn_of_shell()
    belt, settings = load_app_and_settings(app, flags)
    configure_logging(settings)
    try:
        companion = None if make_companion is None else make_companion(belt, settings)
        shutdown = run_in_event_loop(
            _run_worker(belt, settings, strict=strict, rules=rules, companion=companion)
        )
    finally:
        belt.close()
    return shutdown.finish()


def make_worker(
    belt: Conveyor,
    settings: Settings,
    *,
    strict: bool,
    heartbeat: Heartbeat,
    rules: CommandRules = UNRESTRICTED,
    **others: float,
) -> Worker:
    """Make a worker from the settings, with a heartbeat.

    `others` are decided elsewhere: `lease_for`, `beat`, `most`.
    """
    queues = [parse_weighted_queue(text, belt.queues) for text in settings["queues"]]
    return belt.worker(
        queues=queues or None,
        slots=settings["concurrency"],
        strict=strict,
        labels=frozenset(settings["labels"]),
        commands=rules,
        poll=settings["poll"],
        drain=float(settings["drain"]),
        app=settings["app"] or "this agent",
        release=settings["release"],
        max_jobs_per_process=settings["max_jobs_per_process"],
        max_rss_mb=settings["max_rss_mb"],
        retention=retention_of(settings),
        measured=settings["metrics_port"] > 0,
        on_round=heartbeat.report,
        **({"lease_for": float(settings["lease"])} | others),
    )


def retention_of(settings: Settings) -> dict[State, float]:
    """Return how long jobs of each final state are kept, in seconds."""
    return {
        State.COMPLETED: settings["keep_completed"],
        State.CANCELLED: settings["keep_cancelled"],
        State.DISCARDED: settings["keep_discarded"],
    }


async def run_until_stopped(
    worker: Worker, belt: Conveyor, shutdown: Shutdown, *, what: str, where: str
) -> None:
    """Print what the worker serves, and run it until it has stopped."""
    shutdown.attach(worker, belt.url, belt.store.secret)
    queues = ", ".join(name for name, _ in worker.options.queues)
    slots = worker.options.slots
    print_stderr(f"{what} {worker.id}: {slots} slots, queues {queues}, {where} {belt.url}")
    try:
        await worker.run()
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"the worker was ended by {type(error).__name__}") from error


async def _run_worker(
    belt: Conveyor,
    settings: Settings,
    *,
    strict: bool,
    rules: CommandRules,
    companion: Companion | None,
) -> Shutdown:
    shutdown = Shutdown(asyncio.get_running_loop(), float(settings["drain"]))
    # Before the store is opened, which may wait for a lock.
    heartbeat = Heartbeat(str(settings["health_file"]), notify_socket())
    with handle_signals(shutdown.handle_signal, worker_signals()), closing(heartbeat):
        worker = make_worker(belt, settings, strict=strict, heartbeat=heartbeat, rules=rules)
        with served_metrics(worker, settings), shutdown.keep_failure():
            running = run_until_stopped(worker, belt, shutdown, what="worker", where="store")
            await _run_with_companion(running, companion)
    shutdown.worker_ended()
    return shutdown


async def _run_with_companion(work: Coroutine[Any, Any, None], companion: Companion | None) -> None:
    """Run both until one shutdown, and cancel the other; an error of either is raised."""
    tasks = [asyncio.create_task(each) for each in (work, *([companion()] if companion else []))]
    ended, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    for error in await asyncio.gather(*others, return_exceptions=True):
        if isinstance(error, Exception):
            raise error
    for task in ended:
        task.result()
