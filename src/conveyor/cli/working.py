"""Commands that run jobs: worker, run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import closing
from typing import Any, TypeVar

import click

from ..client.app import Conveyor
from ..core.command_policy import ANYTHING, CommandRules
from ..core.job import State
from ..errors import UsageError
from ..settings import Settings
from ..system.sd_notify import manager
from ..worker.worker import Worker
from .shared.command_flags import command_options, rules_from
from .shared.common import app_and_settings, say, url_option
from .shared.heartbeat import Pulse
from .shared.shell_warning import warn_of_shell
from .shared.shutdown import OTHERS, Exit
from .shared.signals import listening

F = TypeVar("F", bound=Callable[..., Any])
Beside = Callable[[], Coroutine[Any, Any, None]]


def _options(command: F) -> F:
    for option in reversed(
        (
            click.argument("app", required=False),
            click.option("--queue", "-q", "queues", multiple=True, help="NAME or NAME:WEIGHT."),
            click.option("--concurrency", "-c", type=int, help="How many jobs at once."),
            click.option("--strict", is_flag=True, help="Queues in order, not by weight."),
            click.option("--label", "labels", multiple=True, help="A label jobs may require."),
            click.option("--no-commands", is_flag=True, help="Leave jobs that are commands alone."),
            command_options,
            click.option("--drain", help="How long running jobs may finish at shutdown."),
            click.option("--lease", help="How long a claim lasts unless renewed."),
            click.option("--health-file", help="Where to say every second how it is, for probes."),
            click.option("--log-level", help="DEBUG, INFO, WARNING or ERROR."),
            url_option,
        )
    ):
        command = option(command)
    return command


@click.command("worker")
@_options
def worker_command(app: str | None, strict: bool, **flags: Any) -> int:
    return work(app, strict=strict, flags=flags)


@click.command("run")
@_options
@click.option("--scale", "scaler", metavar="TOML", help="Be the scaler of this file, too.")
def run_command(app: str | None, strict: bool, scaler: str | None, **flags: Any) -> int:
    return work(app, strict=strict, scaler=scaler, flags=flags)


def work(app: str | None, *, strict: bool, scaler: str | None = None, flags: dict[str, Any]) -> int:
    """Run a worker, perhaps with a scaler beside it, until told to stop; return the exit code."""
    rules = rules_from(flags, allowed=not flags["no_commands"])
    warn_of_shell()
    belt, settings = app_and_settings(app, flags)
    level = str(settings["log_level"]).upper()
    if level not in logging.getLevelNamesMapping():
        raise UsageError(f"log_level {level!r}: DEBUG, INFO, WARNING or ERROR")
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
    )
    try:
        beside = None if scaler is None else _scaler(scaler, belt, settings)
        ends = asyncio.run(_serve(belt, settings, strict=strict, rules=rules, beside=beside))
    finally:
        belt.close()
    return ends.finish()


def _scaler(path: str, belt: Conveyor, settings: Settings) -> Beside:
    from .shared.scaler_thread import EVERY, Fleet, configuration  # noqa: PLC0415 - few workers scale

    lease = float(settings["lease"])
    return Fleet(configuration(path), belt.store, every=EVERY, lease=lease).run


def shares(names: tuple[str, ...]) -> list[tuple[str, int]]:
    """Read "mail" and "mail:4"."""
    found: list[tuple[str, int]] = []
    for text in names:
        name, colon, weight = text.rpartition(":")
        if not colon:
            name, weight = text, "1"
        if not name or not weight.isdigit() or not 1 <= int(weight) <= 1000:
            raise UsageError(f"--queue {text!r}: write NAME or NAME:WEIGHT, weight 1 to 1000")
        found.append((name, int(weight)))
    return found


def make_worker(
    belt: Conveyor,
    settings: Settings,
    *,
    strict: bool,
    pulse: Pulse,
    rules: CommandRules = ANYTHING,
    **others: float,
) -> Worker:
    """Make a worker as the settings say, and one that can be watched.

    `others` are those that somebody else decides: `lease_for`, `beat`, `most`.
    """
    queues = shares(settings["queues"]) or [(name, 1) for name in belt.queues]
    return belt.worker(
        queues=queues,
        slots=settings["concurrency"],
        strict=strict,
        labels=frozenset(settings["labels"]),
        commands=rules,
        poll=settings["poll"],
        drain=float(settings["drain"]),
        app=settings["app"] or "this agent",
        max_jobs_per_process=settings["max_jobs_per_process"],
        max_rss_mb=settings["max_rss_mb"],
        retention={
            State.COMPLETED: settings["keep_completed"],
            State.CANCELLED: settings["keep_cancelled"],
            State.DISCARDED: settings["keep_discarded"],
        },
        on_round=pulse.tell,
        **({"lease_for": float(settings["lease"])} | others),
    )


async def _serve(
    belt: Conveyor, settings: Settings, *, strict: bool, rules: CommandRules, beside: Beside | None
) -> Exit:
    ends = Exit(asyncio.get_running_loop(), float(settings["drain"]))
    # From before the store is opened, which may have to wait for a lock.
    pulse = Pulse(str(settings["health_file"]), manager())
    with listening(ends.act, OTHERS), closing(pulse):
        worker = make_worker(belt, settings, strict=strict, pulse=pulse, rules=rules)
        await _both(see_through(worker, belt, ends, what="worker", where="store"), beside)
    ends.over()
    return ends


async def _both(work: Coroutine[Any, Any, None], beside: Beside | None) -> None:
    """See some work through, and something beside it that does not end; an error ends both."""
    tasks = [asyncio.create_task(each) for each in (work, *([beside()] if beside else []))]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended


async def see_through(worker: Worker, belt: Conveyor, ends: Exit, *, what: str, where: str) -> None:
    """Run a worker to its end, as signals say, and tell who it is and where its jobs are."""
    ends.take(worker, belt.url, belt.store.secret)
    queues = ", ".join(name for name, _ in worker.options.queues)
    say(f"{what} {worker.id}: {worker.options.slots} slots, queues {queues}, {where} {belt.url}")
    await worker.run()
