"""Reports this service's state to its service manager: the sd_notify protocol."""

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
    """Send lines to the socket `address`, the value of $NOTIFY_SOCKET; do nothing if it is empty.

    Best effort: an unreachable service manager must not stop the service.
    """
    if not address:
        return
    # A leading @ stands for the NUL of an abstract address.
    path = "\0" + address[1:] if address.startswith("@") else address
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.setblocking(False)  # noqa: FBT003 - the only way to call it
        out.sendto("\n".join(lines).encode(), path)


def notify_socket() -> str:
    """Return the socket address of the service manager; "" if it expects no notifications."""
    return os.environ.get("NOTIFY_SOCKET", "")
