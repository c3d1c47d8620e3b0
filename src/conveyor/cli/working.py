"""Commands that run jobs: worker, run."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeVar

import click

from ..app import Conveyor
from ..errors import UsageError
from ..job import State
from ..notify import manager
from ..settings import Settings
from ..worker import Worker
from .common import app_and_settings, say, url_option
from .pulse import Pulse
from .shells import warn_of_shell
from .signals import listening

F = TypeVar("F", bound=Callable[..., Any])

DRAINED, HANDED_BACK = 0, 75


def _options(command: F) -> F:
    for option in reversed(
        (
            click.argument("app", required=False),
            click.option("--queue", "-q", "queues", multiple=True, help="NAME or NAME:WEIGHT."),
            click.option("--concurrency", "-c", type=int, help="How many jobs at once."),
            click.option("--strict", is_flag=True, help="Queues in order, not by weight."),
            click.option("--label", "labels", multiple=True, help="A label jobs may require."),
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
def run_command(app: str | None, strict: bool, **flags: Any) -> int:
    return work(app, strict=strict, flags=flags)


def work(app: str | None, *, strict: bool, flags: dict[str, Any]) -> int:
    """Run a worker until it is told to stop; return the exit code."""
    warn_of_shell()
    belt, settings = app_and_settings(app, flags)
    level = str(settings["log_level"]).upper()
    if level not in logging.getLevelNamesMapping():
        raise UsageError(f"log_level {level!r}: DEBUG, INFO, WARNING or ERROR")
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
    )
    try:
        return asyncio.run(_serve(belt, settings, strict=strict))
    finally:
        belt.close()


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


def make_worker(belt: Conveyor, settings: Settings, *, strict: bool, pulse: Pulse) -> Worker:
    """Make a worker as the settings say, and one that can be watched."""
    queues = shares(settings["queues"]) or [(name, 1) for name in belt.queues]
    return belt.worker(
        queues=queues,
        slots=settings["concurrency"],
        strict=strict,
        labels=frozenset(settings["labels"]),
        lease_for=settings["lease"],
        poll=settings["poll"],
        app=settings["app"],
        max_jobs_per_process=settings["max_jobs_per_process"],
        max_rss_mb=settings["max_rss_mb"],
        retention={
            State.COMPLETED: settings["keep_completed"],
            State.CANCELLED: settings["keep_cancelled"],
            State.DISCARDED: settings["keep_discarded"],
        },
        on_round=pulse.tell,
    )


async def _serve(belt: Conveyor, settings: Settings, *, strict: bool) -> int:
    drain = float(settings["drain"])
    loop = asyncio.get_running_loop()
    seen: list[signal.Signals] = []
    made: list[Worker] = []

    def act(number: signal.Signals, count: int) -> None:
        seen.append(number)
        running = sum(len(worker.running) for worker in made)
        if count == 1:
            say(f"{number.name}: no new jobs; {running} running may take {drain:g} s")
            loop.call_soon_threadsafe(lambda: made[0].drain(drain))
        elif count == 2:
            say(f"{number.name} again: stopping {running} running job(s) now")
            loop.call_soon_threadsafe(lambda: made[0].cancel_all())  # noqa: PLW0108 - not before it is made
        else:
            say(f"{number.name} once more: leaving at once; leases tell the others")
            os._exit(128 + number)

    # From before the store is opened, which may have to wait for a lock. What a signal asks for is
    # done by the loop, and so not before there is a worker.
    with listening(act), closing(Pulse(str(settings["health_file"]), manager())) as pulse:
        worker = make_worker(belt, settings, strict=strict, pulse=pulse)
        made.append(worker)
        queues = ", ".join(name for name, _ in worker.options.queues)
        say(f"worker {worker.id}: {worker.options.slots} slots, queues {queues}, store {belt.url}")
        await worker.run()
    back = worker.handed_back
    say(f"worker {worker.id}: {worker.finished} ended, {back} handed back")
    # A forced stop says so by the signal's own code, as a shell would.
    if len(seen) > 1:
        return 128 + seen[-1]
    return HANDED_BACK if back else DRAINED
