"""Runs the server in an event loop: the HTTP side, and the upkeep of the store beside it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager

import msgspec
import uvicorn

from ..core.job import State, WorkerInfo
from ..errors import UsageError
from ..maintenance.upkeep import RETENTION, Schedule, Upkeep
from ..store.protocol import Store
from ..system.process_identity import worker_id, worker_info
from .application import Application
from .http_limits import PatientProtocol
from .origin_guard import is_here
from .request import Rules

log = logging.getLogger("conveyor.server")

# How long what is being answered may take at the end, in seconds.
LAST = 5.0
# How long an idle connection is kept: longer than clients keep theirs, so that they close first.
IDLE = 75
BACKLOG = 2048


class Bind(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server listens, and with which certificate. Port 0 is any free one."""

    host: str = "127.0.0.1"
    port: int = 8080
    tls_cert: str = ""
    tls_key: str = ""

    @property
    def is_public(self) -> bool:
        """Whether others than this machine can connect."""
        return not is_here(self.host)


def check(bind: Bind, *, tokens: bool) -> None:
    """Refuse what would let everybody in, or cannot be; UsageError says how to do it."""
    if bool(bind.tls_cert) != bool(bind.tls_key):
        raise UsageError("TLS needs both: --tls-cert with the certificates and --tls-key")
    for path in (bind.tls_cert, bind.tls_key):
        if path and not os.access(path, os.R_OK):
            raise UsageError(f"{path!r} cannot be read: give a file in PEM format")
    if bind.tls_cert:
        _tls(bind)
    if bind.is_public and not tokens:
        raise _too_open(bind.host)


def _too_open(host: str) -> UsageError:
    return UsageError(
        f"{host} can be reached from other machines, and there is no token yet, so "
        "everybody could run anything: make one with `conveyor token create NAME --scope "
        "admin`, or listen on 127.0.0.1"
    )


def _tls(bind: Bind) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Without a password of its own it would ask whoever started the server, and wait.
        context.load_cert_chain(bind.tls_cert, bind.tls_key, password=lambda: "")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise UsageError(
            f"{bind.tls_cert!r} and {bind.tls_key!r} are no certificate and its key in PEM format, "
            f"without a password: {error}"
        ) from error
    return context


class Server:
    """A server over a store. `run` serves until `stop`; `stop` may be called from any thread."""

    def __init__(
        self,
        store: Store,
        bind: Bind,
        *,
        tokens: bool,
        rules: Rules,
        schedules: Sequence[Schedule] = (),
        retention: Mapping[State, float] = RETENTION,
        on_round: Callable[[WorkerInfo], None] | None = None,
    ) -> None:
        check(bind, tokens=tokens)
        self._bind = bind
        self._tokens = tokens
        self._app = Application(store, tokens=tokens, rules=rules)
        self._config = uvicorn.Config(
            self._app,
            http=PatientProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            # Whoever connects could say that it is somebody else; the audit has a proxy's own name.
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=IDLE,
            timeout_graceful_shutdown=int(LAST),
            backlog=BACKLOG,
            ssl_context_factory=(lambda _config, _default: _tls(bind)) if bind.tls_cert else None,
        )
        self._server = _Uvicorn(self._config)
        # As a worker without slots, so that others see that somebody does the upkeep.
        self._info = worker_info(f"server-{worker_id()}", now=store.now())
        self._upkeep = Upkeep(
            store=store,
            me=lambda: self._info,
            schedules=schedules,
            retention=retention,
            after=on_round,
        )
        self._store = store
        self.open_to = "for whoever has a token" if tokens else "for everybody on this machine"
        if bind.is_public and not bind.tls_cert:
            self.open_to += ", without TLS: tokens and jobs can be read on the way"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = False

    def listen(self) -> tuple[socket.socket, str]:
        """Open the socket; returns it and the URL. UsageError when that cannot be."""
        bind = self._bind
        scheme = "https" if bind.tls_cert else "http"
        try:
            found = socket.getaddrinfo(bind.host, bind.port, type=socket.SOCK_STREAM)
            family, _, _, _, address = found[0]
            if not self._tokens and not is_here(str(address[0])):
                raise _too_open(f"{bind.host} ({address[0]})")  # a name may mean anything
            listening = socket.create_server(
                address[:2],
                family=family,
                backlog=BACKLOG,
            )
            # Inherited by its connections. Without it an answer in two parts waits 40 ms for the
            # other side's delayed acknowledgement (Nagle's algorithm), as asyncio sets it only
            # for sockets that say they are TCP.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise UsageError(
                f"cannot listen on {bind.host}:{bind.port}: {error.strerror or error}. Choose "
                "another --host or --port, or stop what listens there."
            ) from error
        host, port = listening.getsockname()[:2]
        return listening, f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    async def run(self, listening: socket.socket) -> None:
        """Serve until stopped; what is being answered is answered first."""
        self._loop = asyncio.get_running_loop()
        upkeep = asyncio.create_task(self._upkeep.run())
        serving = asyncio.create_task(self._server.serve(sockets=[listening]))
        if self._stopped:
            self._end()
        try:
            await asyncio.wait([upkeep, serving], return_when=asyncio.FIRST_COMPLETED)
            if upkeep.done():
                upkeep.result()  # it only ever ends by a bug: say which
            await serving
        finally:
            upkeep.cancel()
            await asyncio.gather(upkeep, return_exceptions=True)
            listening.close()
            await self._store.leave(self._info.id)

    def stop(self) -> None:
        """Have `run` return soon."""
        self._stopped = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        # Those who wait are answered now; otherwise their connections would hold up the end.
        self._app.end_waiting()
        self._server.should_exit = True


class _Uvicorn(uvicorn.Server):
    """uvicorn, with the signals left to whoever runs it."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals as they are."""
        yield
