"""`conveyor server`: jobs for programs and agents on other machines, over HTTP."""

from __future__ import annotations

import asyncio
import logging
from contextlib import closing
from typing import Any

import click

from ..client.app import Conveyor
from ..core.duration import duration
from ..core.job import State
from ..errors import UsageError
from ..settings import Settings, load_settings
from ..store.protocol import Store
from ..system.sd_notify import manager
from .shared.common import app_and_settings, say, url_option
from .shared.heartbeat import Pulse
from .shared.shell_warning import warn_of_shell
from .shared.signals import listening

LEAST_LEASE = 1.0
MIB = 1 << 20


@click.command("server")
@click.argument("app", required=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535))
@click.option("--tls-cert", default="", help="The certificate with its chain, in PEM.")
@click.option("--tls-key", default="", help="Its private key, in PEM.")
@click.option("--lease", help="How long an agent's claim lasts unless renewed.")
@click.option("--hold", default="25", show_default=True, help="How long a claim waits for a job.")
@click.option(
    "--body-limit",
    default=64,
    show_default=True,
    type=click.IntRange(1, 1024),
    help="The most MiB of a request.",
)
@click.option("--health-file", help="Where to say every second how it is, for probes.")
@click.option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")
@url_option
def server_command(
    app: str | None,
    host: str,
    port: int,
    tls_cert: str,
    tls_key: str,
    hold: str,
    body_limit: int,
    **flags: Any,
) -> int:
    warn_of_shell()
    try:
        from ..server.request import Rules  # noqa: PLC0415
        from ..server.serve import Bind, Server  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the server needs {error.name}: install it with `pip install conveyor[server]`"
        ) from error
    belt, settings = _belt(app, flags)
    set_up_log(settings)
    try:
        store = _local(belt)
        pulse = Pulse(str(settings["health_file"]), manager())
        rules = Rules(
            lease_for=max(LEAST_LEASE, float(settings["lease"])),
            hold=duration(hold),
            args_limit=int(settings["args_limit"]),
            body_limit=body_limit * MIB,
            capacities={name: queue.capacity for name, queue in belt.queues.items()},
        )
        with closing(pulse):
            serving = Server(
                store,
                Bind(host=host, port=port, tls_cert=tls_cert, tls_key=tls_key),
                tokens=bool(store.tokens(limit=1).result()),
                rules=rules,
                schedules=belt.schedules,
                retention={
                    State.COMPLETED: settings["keep_completed"],
                    State.CANCELLED: settings["keep_cancelled"],
                    State.DISCARDED: settings["keep_discarded"],
                },
                on_round=pulse.tell,
            )
            listening_on, url = serving.listen()
            with listening(lambda _number, _count: serving.stop()):
                say(f"server: {url}, store {store.url}, {serving.open_to}")
                asyncio.run(serving.run(listening_on))
    finally:
        belt.close()
    say("server: stopped")
    return 0


def _belt(app: str | None, flags: dict[str, object]) -> tuple[Conveyor, Settings]:
    """Return the application that is named, or just the store, and the settings in force."""
    settings = load_settings({"app": app, **flags})
    if settings["app"]:
        return app_and_settings(app, flags)
    return Conveyor(str(settings["url"])), settings


def _local(belt: Conveyor) -> Store:
    """Return a belt's store if a server can stand before it."""
    store = belt.store
    if store.remote:
        raise UsageError(f"{store.url} is a server already: name the store that it stands before")
    return store


def set_up_log(settings: Settings) -> None:
    """Log as the settings say, to stderr."""
    level = str(settings["log_level"]).upper()
    if level not in logging.getLevelNamesMapping():
        raise UsageError(f"log_level {level!r}: DEBUG, INFO, WARNING or ERROR")
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
    )
