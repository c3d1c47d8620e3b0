"""A port that is kept free for a server which is started later, or more than once."""

from __future__ import annotations

import socket


class ReservedPort:
    """A port of 127.0.0.1. Until it is closed, only a server that asks for this port gets it.

    The kernel gives it to no other socket, because one is bound to it. A server can listen there
    all the same: both allow the reuse of addresses, and the one here does not listen.
    """

    def __init__(self) -> None:
        self._bound = socket.socket()
        self._bound.bind(("127.0.0.1", 0))
        self._bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.number: int = self._bound.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.number}"

    def close(self) -> None:
        self._bound.close()
