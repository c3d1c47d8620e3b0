"""Runs the HTTP server, and the maintenance of its store beside it."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager

import msgspec
import uvicorn

from ..core.event_log import open_event_log
from ..core.host_names import is_loopback
from ..core.job import State, WorkerInfo
from ..core.labels import PUBLIC_WITHOUT_TLS
from ..errors import UsageError
from ..maintenance.loop import maintenance_loop
from ..maintenance.pruner import RETENTION
from ..maintenance.schedule_ticker import Schedule
from ..store.protocol import Store
from ..system.descriptor_limit import descriptor_limit
from ..system.peer_user import is_own_user
from ..system.process_identity import worker_id, worker_info
from ..system.repeat_filter import bounded_log
from .acceptor import Acceptor, connection_limit
from .application import Application
from .http_limits import LimitedHttpProtocol
from .origin_guard import RESPONSE_HEADERS
from .server_config import ServerConfig

log = open_event_log("server")

# Seconds that requests in progress have left when the server stops.
SHUTDOWN_TIMEOUT = 5
# Seconds until an idle connection is closed. Clients must close theirs first, so it is longer.
KEEPALIVE_TIMEOUT = 75
BACKLOG = 2048
OPEN_TO_MACHINE = "no token required, for any user of this machine"


class Bind(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server listens, and its TLS certificate. Port 0 is any free port."""

    host: str = "127.0.0.1"
    port: int = 8080
    tls_cert: str = ""
    tls_key: str = ""

    @property
    def is_public(self) -> bool:
        """Whether other machines can connect."""
        return not is_loopback(self.host)


def check_bind(bind: Bind, *, tokens: bool) -> None:
    """Raise UsageError for an address that is open to anyone, or files that cannot be used."""
    if bool(bind.tls_cert) != bool(bind.tls_key):
        raise UsageError("TLS needs both --tls-cert and --tls-key")
    for path in (bind.tls_cert, bind.tls_key):
        if path and not os.access(path, os.R_OK):
            raise UsageError(f"cannot read {path!r}; it must be a file in PEM format")
    if bind.tls_cert:
        _tls_context(bind)
    if bind.is_public and not tokens:
        raise _open_to_everybody(bind.host)


def _open_to_everybody(host: str) -> UsageError:
    return UsageError(
        f"{host} is reachable from other machines and there are no tokens, so anyone could run "
        "jobs: create a token with `conveyor token create NAME --scope admin`, or listen on "
        "127.0.0.1"
    )


def _tls_context(bind: Bind) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Without this, OpenSSL would ask for the password of a key on the terminal.
        context.load_cert_chain(bind.tls_cert, bind.tls_key, password=lambda: "")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise UsageError(
            f"{bind.tls_cert!r} and {bind.tls_key!r} must be a certificate and its key in PEM "
            f"format, without a password: {error}"
        ) from error
    return context


class Server:
    """Serves a store. `run` returns after `stop`, which any thread may call.

    It has at most `connections`; by default as many as this process's descriptors allow. Without
    `has_maintenance` a worker beside it maintains the store. With `own_user_only` it drops the
    connections of other users of this machine. `port_option` is what chooses another port.
    """

    def __init__(
        self,
        store: Store,
        bind: Bind,
        *,
        tokens: bool,
        config: ServerConfig,
        schedules: Sequence[Schedule] = (),
        retention: Mapping[State, float] = RETENTION,
        on_round: Callable[[WorkerInfo], None] | None = None,
        connections: int | None = None,
        has_maintenance: bool = True,
        own_user_only: bool = False,
        port_option: str = "--host or --port",
    ) -> None:
        check_bind(bind, tokens=tokens)
        self._bind = bind
        self._port_option = port_option
        self._tokens = tokens
        self._app = Application(store, tokens=tokens, config=config)
        self._server = _Uvicorn(
            _uvicorn_config(self._app, bind),
            connection_limit(descriptor_limit()) if connections is None else connections,
            own_user_only=own_user_only,
        )
        # A worker without slots, so that others see that this process does the maintenance.
        is_exposed = bind.is_public and not bind.tls_cert
        self.info = worker_info(
            f"server-{worker_id()}",
            now=store.now(),
            labels=(PUBLIC_WITHOUT_TLS,) if is_exposed else (),
        )
        self._maintenance = maintenance_loop(
            store,
            lambda: self.info,
            schedules=schedules,
            tasks=[task.defaults for task in config.tasks.values()] if config else [],
            retention=retention,
            after_round=on_round,
        )
        self._has_maintenance = has_maintenance
        self._store = store
        self.access_note = "token required" if tokens else OPEN_TO_MACHINE
        if own_user_only:
            self.access_note = "no token required, for this user of this machine only"
        if is_exposed:
            self.access_note += ", without TLS: others can read tokens and jobs in transit"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = False

    def listen(self, *, or_any_port: bool = False) -> tuple[socket.socket, str]:
        """Open the socket and return it with the server's URL, or raise UsageError.

        With `or_any_port` it takes any free port if its own is taken.
        """
        try:
            return self._listen(self._bind)
        except UsageError:
            if not or_any_port:
                raise
            return self._listen(msgspec.structs.replace(self._bind, port=0))

    def _listen(self, bind: Bind) -> tuple[socket.socket, str]:
        scheme = "https" if bind.tls_cert else "http"
        try:
            found = socket.getaddrinfo(bind.host, bind.port, type=socket.SOCK_STREAM)
            family, _, _, _, address = found[0]
            if not self._tokens and not is_loopback(str(address[0])):
                raise _open_to_everybody(
                    f"{bind.host} ({address[0]})"
                )  # a name may resolve to any address
            listening = socket.create_server(
                address[:2],
                family=family,
                backlog=BACKLOG,
            )
            # Inherited by the connections; asyncio sets it only for sockets with an explicit
            # protocol. Without it a response in two parts waits 40 ms for the client's delayed
            # acknowledgement (Nagle's algorithm).
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else ""
            raise UsageError(
                f"cannot listen on {bind.host}:{bind.port}: {why or error}. Choose another "
                f"{self._port_option}, or stop the program that uses this one."
            ) from error
        host, port = listening.getsockname()[:2]
        return listening, f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    async def run(self, listening: socket.socket) -> None:
        """Serve until stopped. Requests in progress are answered first."""
        with bounded_log():
            await self._run(listening)

    async def _run(self, listening: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        maintaining = asyncio.create_task(self._maintain())
        serving = asyncio.create_task(self._server.serve(sockets=[listening]))
        if self._stopped:
            self._stop_serving()
        try:
            await asyncio.wait([maintaining, serving], return_when=asyncio.FIRST_COMPLETED)
            if maintaining.done():
                maintaining.result()  # it ends only by a bug: raise it
            await serving
        finally:
            maintaining.cancel()
            await asyncio.gather(maintaining, return_exceptions=True)
            listening.close()
            if self._has_maintenance:
                await self._store.leave(self.info.id)

    async def _maintain(self) -> None:
        await (self._maintenance.run() if self._has_maintenance else asyncio.Event().wait())

    def stop(self) -> None:
        """Make `run` return soon."""
        self._stopped = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop_serving)

    def _stop_serving(self) -> None:
        # Waiting calls are answered now; otherwise they would delay the shutdown.
        self._app.end_waiting()
        self._server.should_exit = True


def _uvicorn_config(app: Application, bind: Bind) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=LimitedHttpProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        # A client could forge these headers. The audit log has the address of a proxy.
        proxy_headers=False,
        server_header=False,
        date_header=False,
        headers=list(RESPONSE_HEADERS),
        timeout_keep_alive=KEEPALIVE_TIMEOUT,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
        backlog=BACKLOG,
        ssl_context_factory=(lambda _config, _default: _tls_context(bind))
        if bind.tls_cert
        else None,
    )


class _Uvicorn(uvicorn.Server):
    """uvicorn with our acceptor and without its signal handlers."""

    def __init__(self, config: uvicorn.Config, connections: int, *, own_user_only: bool) -> None:
        super().__init__(config)
        self._connections = connections
        self._own_user_only = own_user_only
        self._acceptor: Acceptor | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting connections."""
        await super().startup(sockets=[])
        for listening in sockets or []:
            self._acceptor = Acceptor(
                listening,
                self._make_protocol,
                limit=self._connections,
                tls=self.config.ssl,
                is_welcome=is_own_user if self._own_user_only else None,
            )
            self._acceptor.start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting connections, and end the others."""
        if self._acceptor is not None:
            self._acceptor.stop()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Install no signal handlers."""
        yield

    def _make_protocol(self) -> LimitedHttpProtocol:
        return LimitedHttpProtocol(self.config, self.server_state, self.lifespan.state)
