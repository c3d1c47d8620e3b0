"""A server that says what a test wants it to say, true or not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

PREFIX = "/api/v1"


class Answer(NamedTuple):
    """A response. Without a length in `headers`, it ends with the connection."""

    body: bytes | Iterable[bytes]
    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012 - nothing changes it


Answerer = Callable[[str, dict[str, str]], Answer | None]


class LyingServer:
    """Answers with what `answer` returns for a path and a query; 404 for None."""

    def __init__(self, answer: Answerer) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                parts = urlsplit(self.path)
                path = parts.path.removeprefix(PREFIX)
                asked.append(path)
                query = {name: each[0] for name, each in parse_qs(parts.query).items()}
                found = answer(path, query) or Answer(b"{}", 404)
                chunks = [found.body] if isinstance(found.body, bytes) else found.body
                self.send_response(found.status)
                for name, value in found.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    for chunk in chunks:
                        self.wfile.write(chunk)
                except OSError:  # the client has heard enough
                    pass

            do_POST = do_PUT = do_GET  # noqa: N815 - the name that http.server looks for

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()

    def close(self) -> None:
        """Stop; what is being answered ends by itself."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def as_json(value: Any, **headers: str) -> Answer:
    """Answer with JSON."""
    headers = {name.replace("_", "-"): text for name, text in headers.items()}
    content = {"Content-Type": "application/json"}
    return Answer(json.dumps(value).encode(), headers={**content, **headers})
