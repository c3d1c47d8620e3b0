"""`conveyor server`: the store over HTTP, for clients and agents on other machines."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any

import click

from ..client.app import Conveyor
from ..core.duration import parse_duration
from ..errors import UsageError
from ..settings import Settings, load_settings
from ..store.http.answer_check import LONGEST_TERM
from ..store.protocol import Store
from ..system.descriptor_limit import raise_descriptor_limit
from ..system.sd_notify import notify_socket
from .shared.application import belt_without_app, load_app_and_settings
from .shared.heartbeat import Heartbeat
from .shared.log_setup import configure_logging
from .shared.options import log_options, url_option
from .shared.output import print_stderr
from .shared.shell_warning import warn_of_shell
from .shared.signals import handle_signals
from .shared.worker_options import health_file_option, lease_option
from .shared.worker_process import retention_of

MIB = 1 << 20


@click.command("server")
@click.argument("app", required=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 chooses a free one.",
)
@click.option("--tls-cert", metavar="PATH", default="", help="Certificate chain, PEM.")
@click.option("--tls-key", metavar="PATH", default="", help="Private key, PEM.")
@lease_option
@click.option(
    "--hold",
    metavar="DURATION",
    default="25",
    show_default=True,
    help="Maximum time that a claim request waits for a job.",
)
@click.option(
    "--body-limit",
    default=64,
    show_default=True,
    type=click.IntRange(1, 1024),
    help="Maximum request size, MiB.",
)
@health_file_option
@log_options
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
        from ..server.acceptor import MAX_CONNECTIONS, RESERVED_DESCRIPTORS  # noqa: PLC0415
        from ..server.serve import Bind, Server  # noqa: PLC0415
        from ..server.server_config import ServerConfig  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the server needs {error.name}: install it with `pip install conveyor[server]`"
        ) from error
    raise_descriptor_limit(MAX_CONNECTIONS + RESERVED_DESCRIPTORS)
    belt, settings = _open_belt(app, flags)
    configure_logging(settings)
    try:
        store = _local_store(belt)
        heartbeat = Heartbeat(str(settings["health_file"]), notify_socket())
        config = ServerConfig(
            lease_for=min(float(settings["lease"]), LONGEST_TERM),
            hold=parse_duration(hold, name="--hold"),
            args_limit=int(settings["args_limit"]),
            body_limit=body_limit * MIB,
            masked_keys=tuple(settings["masked_keys"]),
            tasks=dict(belt.tasks) if belt.functions else {},
            capacities={name: queue.capacity for name, queue in belt.queues.items()},
        )
        with closing(heartbeat):
            serving = Server(
                store,
                Bind(host=host, port=port, tls_cert=tls_cert, tls_key=tls_key),
                tokens=bool(store.tokens(limit=1).result()),
                config=config,
                schedules=belt.schedules,
                retention=retention_of(settings),
                on_round=heartbeat.report,
            )
            listening_on, url = serving.listen()
            with handle_signals(lambda _number, _count: serving.stop()):
                print_stderr(f"server: {url}, store {store.url}, {serving.access_note}")
                asyncio.run(serving.run(listening_on))
    finally:
        belt.close()
    print_stderr("server: stopped")
    return 0


def _open_belt(app: str | None, flags: dict[str, object]) -> tuple[Conveyor, Settings]:
    """Return the application, or one without tasks on the configured store, and the settings."""
    settings = load_settings({"app": app, **flags})
    if settings["app"]:
        return load_app_and_settings(app, flags)
    return belt_without_app(str(settings["url"])), settings


def _local_store(belt: Conveyor) -> Store:
    """Return the store; UsageError if it is itself a server."""
    store = belt.store
    if store.is_server:
        raise UsageError(f"{store.url} is a server; give the URL of its store instead")
    return store
