"""Keeps web pages away from a server that wants no token: any page may send requests from here.

A page of elsewhere can have the browser on this machine send requests to 127.0.0.1, and by a name
of its own that suddenly means 127.0.0.1 (DNS rebinding) it can read the answers too. A browser says
which page asks (Origin), and whom it takes the server for (Host).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from ..errors import AccessError


def check_neighbour(headers: Mapping[str, str]) -> None:
    """Let a request in that is addressed to this machine and not sent by a page of elsewhere."""
    host = headers.get("host", "")
    if host and not is_here(_name(host)):
        raise AccessError(
            f"this server wants no token, so it answers only what is addressed to this machine "
            f"and not to {host[:200]!r}: write 127.0.0.1 or localhost, or make a token with "
            "`conveyor token create`"
        )
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        raise AccessError(
            f"a page of {origin[:200]!r} asks, and this server wants no token: it answers only "
            "programs of this machine"
        )


@lru_cache(maxsize=100)
def is_here(host: str) -> bool:
    """Whether a name or an address can mean only this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
