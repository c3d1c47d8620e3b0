"""A proxy that serves another server below a path, as `location /ops/jobs/` of nginx does."""

from __future__ import annotations

import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

# What is about one connection, and not to be passed on.
HOP = ("connection", "transfer-encoding", "keep-alive")


class Prefix:
    """Serves `url` below `path` within a context; its value is the new URL."""

    def __init__(self, url: str, path: str) -> None:
        host = urlsplit(url).netloc

        class Handler(BaseHTTPRequestHandler):
            def pass_on(self) -> None:
                if not self.path.startswith(path):
                    self.send_error(404, "outside the prefix")
                    return
                length = int(self.headers.get("content-length", 0))
                connection = HTTPConnection(host)
                headers = {name: self.headers[name] for name in self.headers if name != "Host"}
                data = self.rfile.read(length)
                connection.request(self.command, "/" + self.path.removeprefix(path), data, headers)
                answer = connection.getresponse()
                self.send_response(answer.status)
                for name, text in answer.getheaders():
                    if name.lower() not in HOP:
                        self.send_header(name, text)
                self.send_header("connection", "close")
                self.end_headers()
                while piece := answer.read1():
                    try:
                        self.wfile.write(piece)
                    except OSError:  # the browser has gone
                        break
                connection.close()

            do_GET = do_POST = do_PUT = do_DELETE = pass_on  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{path}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        return self.url

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
