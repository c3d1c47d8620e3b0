"""A cable to a PostgreSQL server: it can be cut, so that sessions end, or pulled out in silence."""

from __future__ import annotations

import socket
from pathlib import Path

from byte_proxy import ByteProxy


class Cable(ByteProxy):
    """A proxy in `folder` for the server whose socket is in `behind`."""

    def __init__(self, folder: Path, behind: str) -> None:
        folder.mkdir()
        self.host = str(folder)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(f"{folder}/.s.PGSQL.5432")
        listening.listen(100)

        def connect() -> socket.socket | None:
            there = socket.socket(socket.AF_UNIX)
            try:
                there.connect(f"{behind}/.s.PGSQL.5432")
            except OSError:
                there.close()
                return None
            return there

        super().__init__(listening, connect)

    def pull_out(self) -> None:
        """Let nothing through from now on; neither side is told."""
        self.passes.clear()

    def plug_in(self) -> None:
        """Let through what waits, and what follows."""
        self.passes.set()
