"""Serves the metrics of a worker over HTTP, in threads: also while a job blocks the event loop."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, cast

from ..core.event_log import open_event_log
from ..core.host_names import host_name, is_loopback
from ..errors import UsageError

# How long a client may take for each step of its request, in seconds, and how many are served.
STEP_TIMEOUT, MAX_CLIENTS = 5.0, 16
# How long to wait for the thread when the worker ends, in seconds.
WAKE_TIMEOUT = 1.0

log = open_event_log("metrics")

Render = Callable[[str], tuple[bytes, str]]


class MetricsServer:
    """Answers GET /metrics with what `render` returns for the value of Accept.

    It listens on one address from the start; UsageError if it cannot. Port 0 is any free port.
    """

    def __init__(self, host: str, port: int, render: Render) -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            family, _, _, _, address = found[0]
            self._server = _Server(family, address[:2], render)
        except (OSError, UnicodeError) as error:
            why = (error.strerror if isinstance(error, OSError) else "") or error
            raise UsageError(
                f"cannot listen on {host}:{port} for metrics: {why}. Choose another "
                "--metrics-port or --metrics-host, or stop the program that uses this one."
            ) from error
        self.host, self.port = str(self._server.server_address[0]), self._server.server_port
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="conveyor-metrics", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        with suppress(OSError), socket.create_connection((self.host, self.port), WAKE_TIMEOUT):
            pass  # a connection wakes the thread, which would wait for one
        self._thread.join(WAKE_TIMEOUT)
        self._server.server_close()

    def _serve(self) -> None:
        while not self._closing:
            self._server.handle_request()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client that reads nothing must not delay the exit
    request_queue_size = 4 * MAX_CLIENTS

    def __init__(self, family: int, address: Any, render: Render) -> None:
        self.address_family = family
        self.render = render
        self._clients = threading.Semaphore(MAX_CLIENTS)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # Not HTTPServer's own, which asks the name service who this machine is.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_port = int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._clients.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system has no room for another thread
            self._clients.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._clients.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that has gone or was too slow; anything else is a fault of ours."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            log.error("metrics.failed", exc_info=error)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(str(self.server_address[0]))


class _Handler(BaseHTTPRequestHandler):
    timeout = STEP_TIMEOUT

    def do_GET(self) -> None:
        server = cast("_Server", self.server)
        host = host_name(self.headers.get("Host", ""))
        if server.is_local and not is_loopback(host):
            # A web page whose name was made to lead here (DNS rebinding).
            self._answer(HTTPStatus.FORBIDDEN, b"the Host header must name this machine\n")
        elif self.path.partition("?")[0] == "/metrics":
            text, media = server.render(self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, text, media)
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"the metrics are at /metrics\n")

    def _answer(self, status: HTTPStatus, text: bytes, media: str = "text/plain") -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that it has
        """Log nothing: a scraper asks every few seconds."""
