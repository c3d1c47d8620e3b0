"""Tells the service manager how this service does: systemd's notify protocol, and podman's."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

READY = "READY=1"
STOPPING = "STOPPING=1"
WATCHDOG = "WATCHDOG=1"


def status(text: str) -> str:
    """Return the line that `systemctl status` shows."""
    return f"STATUS={text}"


def notify(address: str, *lines: str) -> None:
    """Send some lines to the socket that $NOTIFY_SOCKET names; do nothing if it is empty.

    A manager that does not listen is no reason to stop working.
    """
    if not address:
        return
    # An abstract address is written with @ in the place of NUL.
    path = "\0" + address[1:] if address.startswith("@") else address
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.setblocking(False)  # noqa: FBT003 - the only way to call it
        out.sendto("\n".join(lines).encode(), path)


def manager() -> str:
    """Return the address of the manager that started this process, if it wants to hear."""
    return os.environ.get("NOTIFY_SOCKET", "")
