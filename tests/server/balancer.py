"""A plain TCP balancer: each connection goes to the first of some servers that accepts it."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from byte_proxy import ByteProxy


class Balancer(ByteProxy):
    """Listens at `url`, in threads, until closed."""

    def __init__(self, urls: Sequence[str]) -> None:
        behind = [("127.0.0.1", urlsplit(each).port or 80) for each in urls]

        def connect() -> socket.socket | None:
            for address in behind:
                with suppress(OSError):
                    there = socket.create_connection(address, timeout=5)
                    there.settimeout(None)
                    return there
            return None

        listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        super().__init__(listening, connect)
